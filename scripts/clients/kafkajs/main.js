// Checks kafkajs against a broker: see --help.
'use strict'

const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')

const { main } = require('../node-shared/main.js')
const { Library, Reader } = require('../node-shared/kafkajs-api.js')

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

// kafkajs has gzip; the others are packages that plug in. The one for zstd that its documentation names
// does not compile with Node 20, so a small codec as documented does it.
async function addCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
  const Lz4 = require('kafkajs-lz4')
  CompressionCodecs[CompressionTypes.LZ4] = new Lz4().codec
  const modules = path.dirname(path.dirname(require.resolve('kafkajs/package.json')))
  const { Zstd } = await import(pathToFileURL(path.join(modules, '@hpcc-js/wasm-zstd/dist/index.js')))
  const zstd = await Zstd.load()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
  })
}

class Kafkajs extends Library {
  assigns = false
  findsLaterTopics = false

  produce({ codec, idempotent }, topic, messages) {
    const producer = this.kafka.producer({ idempotent, maxInFlightRequests: 1, allowAutoTopicCreation: false })
    return this.sendAll(producer, { topic, acks: -1, compression: CODECS[codec], messages })
  }

  // join and readFrom: seek works once run was called, before anything is fetched.
  async join({ group, topics, session, assigned }, from = new Map()) {
    const consumer = this.kafka.consumer({
      groupId: group,
      sessionTimeout: session,
      heartbeatInterval: 500,
      maxWaitTimeInMs: 200,
      metadataMaxAge: 500,
      allowAutoTopicCreation: false,
    })
    let partitions = []
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      partitions = Object.entries(payload.memberAssignment).flatMap(([topic, numbers]) =>
        numbers.map(partition => ({ topic, partition })))
      assigned?.(partitions)
    })
    const reader = new Reader(consumer, () => partitions)
    await consumer.connect()
    await consumer.subscribe({ topics, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: reader.eachMessage })
    for (const [partition, offset] of from) consumer.seek({ topic: topics[0], partition, offset: String(offset) })
    return reader
  }

  // kafkajs reads in a group only; its partitions that are not asked for must be empty.
  readFrom(topic, from) {
    this.groups = (this.groups ?? 0) + 1
    return this.join({ group: `read-${this.groups}-${topic}`, topics: [topic], session: 30000 }, from)
  }

  async partitions(topic) {
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [topic] })
    return topics[0].partitions.length
  }

  async configs(topic) {
    const { resources } = await this.admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
    return new Map(resources[0].configEntries.map(entry => [entry.configName, entry.configValue]))
  }

  alterConfigs(topic, configs) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    return this.admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }] })
  }

  addPartitions(topic, total) {
    return this.admin.createPartitions({ topicPartitions: [{ topic, count: total }] })
  }
}

main(async broker => {
  await addCodecs()
  const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR, retry: { retries: 2 } })
  const admin = kafka.admin()
  await admin.connect()
  return new Kafkajs(kafka, admin)
})
