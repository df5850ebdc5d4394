// Checks @confluentinc/kafka-javascript against a broker: see --help. Mostly by its KafkaJS API; what that
// lacks (explicit assignment, adding partitions) by its older one.
'use strict'

const { AdminClient, CODES, KafkaConsumer, KafkaJS } = require('@confluentinc/kafka-javascript')

const { main } = require('../node-shared/main.js')
const { Library, Reader } = require('../node-shared/kafkajs-api.js')

// Assigned reads partitions without a group.
class Assigned {
  #consumer
  #records = []

  static async open(broker, topic, from) {
    const assigned = new Assigned()
    const consumer = new KafkaConsumer({ 'metadata.broker.list': broker, 'group.id': 'none', 'enable.auto.commit': false }, {})
    assigned.#consumer = consumer
    await new Promise((resolve, reject) => consumer.connect({}, error => (error ? reject(error) : resolve())))
    consumer.setDefaultConsumeTimeout(100)
    consumer.assign([...from].map(([partition, offset]) => ({ topic, partition, offset })))
    return assigned
  }

  async next(milliseconds) {
    for (const end = Date.now() + milliseconds; this.#records.length === 0; ) {
      if (Date.now() > end) throw new Error(`no record came for ${milliseconds} ms`)
      this.#records = await new Promise((resolve, reject) =>
        this.#consumer.consume(100, (error, messages) => (error ? reject(error) : resolve(messages))))
    }
    const { topic, partition, offset, key, value, headers, timestamp } = this.#records.shift()
    const byName = {}
    for (const [name, bytes] of (headers ?? []).flatMap(Object.entries)) (byName[name] ??= []).push(bytes)
    return { topic, partition, offset, key, value, headers: byName, timestamp }
  }

  close() {
    return new Promise((resolve, reject) => this.#consumer.disconnect(error => (error ? reject(error) : resolve())))
  }
}

class Confluent extends Library {
  assigns = true
  findsLaterTopics = true

  constructor(kafka, admin, broker) {
    super(kafka, admin)
    this.broker = broker
  }

  produce({ codec, idempotent }, topic, messages) {
    const compression = KafkaJS.CompressionTypes[codec === 'none' ? 'None' : codec.toUpperCase()]
    const producer = this.kafka.producer({
      kafkaJS: { acks: -1, compression, idempotent, allowAutoTopicCreation: false },
      'max.in.flight.requests.per.connection': 1,
    })
    return this.sendAll(producer, { topic, messages })
  }

  async join({ group, topics, session, assigned }) {
    const consumer = this.kafka.consumer({
      kafkaJS: {
        groupId: group,
        sessionTimeout: session,
        heartbeatInterval: 500,
        maxWaitTimeInMs: 200,
        metadataMaxAge: 1000,
        fromBeginning: true,
        autoCommit: false,
        allowAutoTopicCreation: false,
      },
      rebalance_cb: (error, partitions) => {
        if (error.code === CODES.ERRORS.ERR__ASSIGN_PARTITIONS) assigned?.(partitions)
      },
    })
    const reader = new Reader(consumer, () => consumer.assignment())
    await consumer.connect()
    await consumer.subscribe({ topics })
    await consumer.run({ eachMessage: reader.eachMessage })
    return reader
  }

  readFrom(topic, from) {
    return Assigned.open(this.broker, topic, from)
  }

  async partitions(topic) {
    const [described] = await this.admin.fetchTopicMetadata({ topics: [topic] })
    return described.partitions.length
  }

  async addPartitions(topic, total) {
    const admin = AdminClient.create({ 'bootstrap.servers': this.broker })
    try {
      await new Promise((resolve, reject) =>
        admin.createPartitions(topic, total, 10000, error => (error ? reject(error) : resolve())))
    } finally {
      admin.disconnect()
    }
  }
}

main(async broker => {
  const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: [broker], logLevel: KafkaJS.logLevel.ERROR } })
  const admin = kafka.admin()
  await admin.connect()
  return new Confluent(kafka, admin, broker)
})
