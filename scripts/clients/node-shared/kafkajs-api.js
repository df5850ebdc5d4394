// What kafkajs and the KafkaJS API of @confluentinc/kafka-javascript have in common.
'use strict'

const { Channel } = require('./channel.js')
const { Code, CodedError } = require('./checks.js')

// Reader is a consumer in a group.
class Reader {
  constructor(consumer, partitions) {
    this.consumer = consumer
    this.channel = new Channel()
    // partitions gives the assignment: a list of { topic, partition }.
    this.partitions = partitions
    this.eachMessage = ({ topic, partition, message }) =>
      this.channel.put({
        topic,
        partition,
        offset: Number(message.offset),
        key: message.key,
        value: message.value,
        headers: message.headers ?? {},
        timestamp: Number(message.timestamp),
      })
  }

  next(milliseconds) {
    return this.channel.take(milliseconds)
  }

  // commit stores that the partition's records up to this one are done.
  commit({ topic, partition, offset }, metadata) {
    return this.consumer.commitOffsets([{ topic, partition, offset: String(offset + 1), metadata }])
  }

  pause(topic, partition) {
    this.consumer.pause([{ topic, partitions: [partition] }])
  }

  resume(topic, partition) {
    this.consumer.resume([{ topic, partitions: [partition] }])
  }

  close() {
    this.channel.close()
    return this.consumer.disconnect()
  }
}

class Library {
  constructor(kafka, admin) {
    this.kafka = kafka
    this.admin = admin
  }

  // sendAll gives the offset of the first message of each partition.
  async sendAll(producer, record) {
    await producer.connect()
    try {
      const answers = await producer.send({
        ...record,
        // Copies, because the client changes what it is given.
        messages: record.messages.map(({ timestamp, ...message }) =>
          timestamp === undefined ? message : { ...message, timestamp: String(timestamp) }),
      })
      return new Map(answers.map(answer => [answer.partition, Number(answer.baseOffset)]))
    } finally {
      await producer.disconnect()
    }
  }

  async createTopic(topic, partitions, configs) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const created = await this.admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
    })
    // The API tells of this one error by its answer.
    if (!created) throw new CodedError(Code.TOPIC_ALREADY_EXISTS, 'createTopics gave false')
  }

  deleteTopic(topic) {
    return this.admin.deleteTopics({ topics: [topic] })
  }

  // offsetsAt has an admin client of its own: kafkajs loses sight of a topic in this call when others of the
  // same admin client change topics meanwhile.
  async offsetsAt(topic, timestamp) {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, timestamp)
      return new Map(offsets.map(one => [one.partition, Number(one.offset)]))
    } finally {
      await admin.disconnect()
    }
  }

  async committed(groupId, topic) {
    const [offsets] = await this.admin.fetchOffsets({ groupId, topics: [topic] })
    return new Map(offsets.partitions.map(one => [one.partition, { offset: Number(one.offset), metadata: one.metadata }]))
  }
}

module.exports = { Library, Reader }
