// The checks, in the order in which they are reported.
'use strict'

const { Code, Difference, NoApi, Partly, PATIENCE, eventually, expectCode, must, numbered, readBack, readCount, same, write } = require('./checks.js')
const { rebalanceCrash, rebalanceJoinLeave } = require('./rebalance.js')

async function topicOf(c, of, partitions, configs = {}) {
  const topic = c.name(of)
  await c.library.createTopic(topic, partitions, configs)
  return topic
}

const produce = codec => async c => {
  const topic = await topicOf(c, `produce-${codec}`, 3)
  const messages = [0, 1, 2].flatMap(partition => numbered(partition, 500))
  await write(c.library, topic, messages, { codec })
  await readBack(c.library, topic, messages)
}

// EMPTY has memory: @confluentinc/kafka-javascript sends an empty Buffer that has none as null.
const EMPTY = Buffer.from('x').subarray(0, 0)

async function headersKeysNulls(c) {
  const topic = await topicOf(c, 'headers', 1)
  const headers = { twice: [Buffer.from('one'), Buffer.from('two')], empty: EMPTY, bytes: Buffer.from([0, 0xff]) }
  const messages = [
    { key: Buffer.from('key'), value: Buffer.from('value'), headers },
    { key: Buffer.from('no value'), value: null, headers: { one: Buffer.from('1') } },
    { key: null, value: Buffer.from('no key') },
    { key: Buffer.from('empty value'), value: EMPTY },
    { key: EMPTY, value: Buffer.from('empty key') },
    { key: Buffer.from([0, 0xff, 0x80]), value: Buffer.from([0xc0, 0, 10]) },
  ].map(message => ({ ...message, partition: 0 }))
  await write(c.library, topic, messages)
  await readBack(c.library, topic, messages)
}

async function idempotent(c) {
  const topic = await topicOf(c, 'idempotent', 1)
  const messages = numbered(0, 2000)
  await write(c.library, topic, messages, { idempotent: true })
  await readBack(c.library, topic, messages)
}

async function assign(c) {
  if (!c.library.assigns) throw new NoApi('explicit assignment of partitions')
  const topic = await topicOf(c, 'assign', 2)
  const messages = [...numbered(0, 50), ...numbered(1, 50)]
  await write(c.library, topic, messages)
  const consumer = await c.library.readFrom(topic, new Map([[1, 17]]))
  try {
    same(topic, messages.slice(50 + 17), await readCount(consumer, 50 - 17), 17)
  } finally {
    await consumer.close()
  }
}

async function subscribe(c) {
  const topics = [await topicOf(c, 'subscribe-a', 2), await topicOf(c, 'subscribe-b', 2)]
  const messages = [...numbered(0, 100), ...numbered(1, 100)]
  for (const topic of topics) await write(c.library, topic, messages)
  const consumer = await c.library.join({ group: c.name('subscribe'), topics, session: PATIENCE })
  try {
    const records = await readCount(consumer, 400)
    for (const topic of topics) same(topic, messages, records.filter(record => record.topic === topic))
  } finally {
    await consumer.close()
  }
}

async function regex(c) {
  const messages = [...numbered(0, 20), ...numbered(1, 20)]
  const earlier = await topicOf(c, 'regex-a', 2)
  await write(c.library, earlier, messages)
  await write(c.library, await topicOf(c, 'other-a', 2), messages)
  const consumer = await c.library.join({
    group: c.name('regex'), topics: [new RegExp(`^regex-.*-${c.run}$`)], session: PATIENCE,
  })
  try {
    const records = await readCount(consumer, 40)
    same(earlier, messages, records)
    // A rebalance may follow when a topic is found: what was read must not come again.
    for (const partition of [0, 1]) {
      await consumer.commit(records.findLast(record => record.partition === partition), '')
    }
    const later = await topicOf(c, 'regex-b', 2)
    await write(c.library, later, messages)
    // Metadata is asked for every second, at the latest.
    const found = readCount(consumer, 40, 10000)
    same(later, messages, c.library.findsLaterTopics ? await found : await found.catch(error => {
      throw new Difference(`a topic made after subscribe: ${error.message}`)
    }))
  } finally {
    await consumer.close()
  }
}

async function seekTime(c) {
  const topic = await topicOf(c, 'seek-time', 1)
  const first = Math.floor(Date.now() / 1000) * 1000 - 3600000
  const messages = numbered(0, 100).map((message, i) => ({ ...message, timestamp: first + i * 1000 }))
  await write(c.library, topic, messages)
  // Where there is no such record, the API gives the end, 100.
  for (const [after, expected] of [[-60000, 0], [41000, 41], [41500, 42], [200000, 100]]) {
    const offset = (await c.library.offsetsAt(topic, first + after)).get(0)
    must(offset === expected, `the offset of ${after} ms after the first record is ${offset}, not ${expected}`)
    if (expected === 100) continue
    const consumer = await c.library.readFrom(topic, new Map([[0, offset]]))
    try {
      same(topic, messages.slice(expected), await readCount(consumer, 100 - expected), expected)
    } finally {
      await consumer.close()
    }
  }
}

async function pause(c) {
  const topic = await topicOf(c, 'pause', 2)
  const consumer = await c.library.join({ group: c.name('pause'), topics: [topic], session: PATIENCE })
  try {
    await eventually(() => must(consumer.partitions().length === 2, 'not both partitions were assigned'))
    consumer.pause(topic, 0)
    // Twice: by the time the second part of one has come, the first part of the other would have.
    for (const part of [0, 1]) {
      const messages = [...numbered(0, 50), ...numbered(1, 50)]
      await write(c.library, topic, messages, { first: 50 * part })
      same(topic, messages.slice(50), await readCount(consumer, 50), 50 * part)
    }
    consumer.resume(topic, 0)
    same(topic, [...numbered(0, 50), ...numbered(0, 50)], await readCount(consumer, 100))
  } finally {
    await consumer.close()
  }
}

async function commitResume(c) {
  const done = 40
  const topic = await topicOf(c, 'commit', 1)
  const messages = numbered(0, 100)
  await write(c.library, topic, messages)
  const how = { group: c.name('commit'), topics: [topic], session: PATIENCE }
  let consumer = await c.library.join(how)
  try {
    const records = await readCount(consumer, done)
    await consumer.commit(records[done - 1], 'checkpoint 40')
  } finally {
    await consumer.close()
  }
  const committed = (await c.library.committed(how.group, topic)).get(0)
  must(committed?.offset === done, `committed is ${committed?.offset}, not ${done}`)
  must(committed.metadata === 'checkpoint 40', `the metadata is ${JSON.stringify(committed.metadata)}`)
  consumer = await c.library.join(how)
  try {
    same(topic, messages.slice(done), await readCount(consumer, 100 - done), done)
  } finally {
    await consumer.close()
  }
}

// ---- administration ----------------------------------------------------------------------------

async function hasPartitions(c, topic, count) {
  const got = await c.library.partitions(topic)
  must(got === count, `${topic} has ${got} partitions, not ${count}`)
}

async function hasConfigs(c, topic, expected) {
  const configs = await c.library.configs(topic)
  for (const [key, value] of Object.entries(expected)) {
    must(configs.get(key) === value, `${key} of ${topic} is ${configs.get(key)}, not ${value}`)
  }
}

async function adminCreate(c) {
  const configs = { 'max.message.bytes': '123456', 'message.timestamp.type': 'LogAppendTime' }
  const topic = await topicOf(c, 'admin-create', 3, configs)
  await eventually(() => hasPartitions(c, topic, 3))
  if (c.library.configs) await hasConfigs(c, topic, configs)
  await expectCode(Code.TOPIC_ALREADY_EXISTS, 'creating an existing topic', () => c.library.createTopic(topic, 3, {}))
  for (const bad of [{ 'no.such.config': '1' }, { 'max.message.bytes': 'many' }]) {
    await expectCode(Code.INVALID_CONFIG, `creating with ${JSON.stringify(bad)}`, () =>
      c.library.createTopic(c.name('admin-bad'), 1, bad))
  }
  if (!c.library.configs) throw new Partly('description of configurations (it sets them)')
}

async function adminDescribe(c) {
  const topic = await topicOf(c, 'admin-describe', 5)
  const missing = c.name('admin-missing')
  await eventually(() => hasPartitions(c, topic, 5))
  await expectCode(Code.UNKNOWN_TOPIC_OR_PARTITION, 'describing an unknown topic', () => c.library.partitions(missing))
  if (!c.library.configs) throw new Partly('description of configurations')
  await hasConfigs(c, topic, {
    'max.message.bytes': '1048588', 'cleanup.policy': 'delete', 'message.timestamp.type': 'CreateTime',
  })
  await expectCode(Code.UNKNOWN_TOPIC_OR_PARTITION, 'describing the configs of an unknown topic', () =>
    c.library.configs(missing))
}

async function adminAlter(c) {
  const topic = await topicOf(c, 'admin-alter', 2)
  await c.library.addPartitions(topic, 4)
  await eventually(() => hasPartitions(c, topic, 4))
  const messages = numbered(3, 10)
  await write(c.library, topic, messages)
  await readBack(c.library, topic, messages)
  await expectCode(Code.INVALID_PARTITIONS, 'taking partitions away', () => c.library.addPartitions(topic, 3))
  if (!c.library.alterConfigs) throw new Partly('change of configurations (it adds partitions)')
  const configs = { 'max.message.bytes': '234567', 'message.timestamp.type': 'LogAppendTime' }
  await c.library.alterConfigs(topic, configs)
  await hasConfigs(c, topic, configs)
  await expectCode(Code.INVALID_CONFIG, 'altering an unknown config', () =>
    c.library.alterConfigs(topic, { 'no.such.config': '1' }))
  await hasConfigs(c, topic, configs)
  await expectCode(Code.UNKNOWN_TOPIC_OR_PARTITION, 'altering an unknown topic', () =>
    c.library.alterConfigs(c.name('admin-missing'), configs))
}

async function adminDelete(c) {
  const topic = await topicOf(c, 'admin-delete', 2)
  await write(c.library, topic, numbered(0, 10))
  await c.library.deleteTopic(topic)
  await eventually(() =>
    expectCode(Code.UNKNOWN_TOPIC_OR_PARTITION, 'describing a deleted topic', () => c.library.partitions(topic)))
  await expectCode(Code.UNKNOWN_TOPIC_OR_PARTITION, 'deleting an unknown topic', () => c.library.deleteTopic(topic))
}

const features = [
  ...['none', 'gzip', 'snappy', 'lz4', 'zstd'].map(codec => ({ name: `produce-${codec}`, check: produce(codec) })),
  { name: 'headers-keys-nulls', check: headersKeysNulls },
  { name: 'idempotent', check: idempotent },
  { name: 'assign', check: assign },
  { name: 'subscribe', check: subscribe },
  { name: 'regex', check: regex },
  { name: 'seek-time', check: seekTime },
  { name: 'pause', check: pause },
  { name: 'rebalance-join-leave', check: rebalanceJoinLeave, alone: true },
  { name: 'rebalance-crash', check: rebalanceCrash, alone: true },
  { name: 'commit-resume', check: commitResume },
  { name: 'admin-create', check: adminCreate },
  { name: 'admin-describe', check: adminDescribe },
  { name: 'admin-alter', check: adminAlter },
  { name: 'admin-delete', check: adminDelete },
]

module.exports = { features }
