// What the checks are made of: records, their comparison, waits with bounds.
'use strict'

const { setTimeout: sleep } = require('node:timers/promises')

// A wait for one thing that should happen is over after this, in milliseconds.
const PATIENCE = 30000

// The protocol's error codes that the checks expect.
const Code = { UNKNOWN_TOPIC_OR_PARTITION: 3, TOPIC_ALREADY_EXISTS: 36, INVALID_PARTITIONS: 37, INVALID_CONFIG: 40 }

// NoApi says what a client's API cannot do at all. Its text reads on from "the client has no".
class NoApi extends Error {
  constructor(what) {
    super(`the client has no ${what}`)
  }
}

// Partly says that a feature works but for what the client has no means for. Its text reads on from "the client has no".
class Partly extends NoApi {}

// Difference is a failure that is known to be the client's own. Any other makes the program end with status 1.
class Difference extends Error {}

// CodedError has an error code of the protocol which the client keeps elsewhere than in `code`.
class CodedError extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

function must(condition, problem) {
  if (!condition) throw new Error(problem)
}

// numbered makes messages 0 to count-1 of a partition, each with a key and a value of its own.
function numbered(partition, count) {
  return Array.from({ length: count }, (_, i) => ({
    partition,
    key: Buffer.from(`key-${partition}-${i}`),
    value: Buffer.from(`value ${i} of partition ${partition} ${'abc '.repeat(i % 50)}`),
  }))
}

// write produces, and checks that each partition's messages were given offsets from first on.
async function write(library, topic, messages, { first = 0, codec = 'none', idempotent = false } = {}) {
  const offsets = await library.produce({ codec, idempotent }, topic, messages)
  for (const partition of new Set(messages.map(message => message.partition))) {
    must(offsets.get(partition) === first, `partition ${partition} was written at ${offsets.get(partition)}, not ${first}`)
  }
}

async function readCount(consumer, count, milliseconds = PATIENCE) {
  const end = Date.now() + milliseconds
  const records = []
  while (records.length < count) {
    try {
      records.push(await consumer.next(Math.max(1, end - Date.now())))
    } catch (error) {
      throw new Error(`after ${records.length} of ${count} records: ${error.message}`)
    }
  }
  return records
}

// readBack reads partitions from their beginning and compares with what was written to them.
async function readBack(library, topic, messages) {
  const partitions = new Set(messages.map(message => message.partition))
  const consumer = await library.readFrom(topic, new Map([...partitions].map(one => [one, 0])))
  try {
    same(topic, messages, await readCount(consumer, messages.length))
  } finally {
    await consumer.close()
  }
}

// same compares a topic's records by partition: content, order, and offsets that count up from first.
function same(topic, messages, records, first = 0) {
  const other = records.find(record => record.topic !== topic)
  must(other === undefined, `a record of ${other?.topic} came`)
  const partitions = new Set([...messages, ...records].map(one => one.partition))
  for (const partition of partitions) {
    const want = messages.filter(one => one.partition === partition)
    const have = records.filter(one => one.partition === partition)
    must(have.length === want.length, `partition ${partition} gave ${have.length} records, not ${want.length}`)
    want.forEach((message, i) => {
      const where = `record ${i} of partition ${partition}`
      must(have[i].offset === first + i, `${where} has offset ${have[i].offset}, not ${first + i}`)
      for (const part of ['key', 'value']) {
        must(equal(message[part], have[i][part]), `${where}: the ${part} is ${shown(have[i][part])}, not ${shown(message[part])}`)
      }
      const [headers, expected] = [have[i].headers, message.headers ?? {}].map(shownHeaders)
      must(headers === expected, `${where}: the headers are ${headers}, not ${expected}`)
      if (message.timestamp !== undefined) {
        must(message.timestamp === have[i].timestamp, `${where}: the timestamp is ${have[i].timestamp}, not ${message.timestamp}`)
      }
    })
  }
}

// equal tells null from empty.
function equal(a, b) {
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0
}

function shown(data) {
  return data === null || data === undefined ? String(data) : JSON.stringify(data.toString('latin1'))
}

// shownHeaders: values by name. The API has an object, and so no order between names.
function shownHeaders(headers) {
  const names = Object.keys(headers).sort()
  return JSON.stringify(names.map(name => [name, [headers[name]].flat().map(value => Buffer.from(value).toString('hex'))]))
}

// expectCode checks that an action fails with this error code of the protocol.
async function expectCode(code, what, action) {
  let error
  try {
    await action()
  } catch (caught) {
    error = caught
  }
  must(error !== undefined, `${what} gave no error, not error code ${code}`)
  const got = codeOf(error)
  must(got === code, `${what} gave error code ${got}, not ${code}: ${error.message}`)
}

function codeOf(error) {
  if (Number.isInteger(error?.code)) return error.code
  if (error?.errors?.length) return codeOf(error.errors[0])
  return error?.cause ? codeOf(error.cause) : undefined
}

// eventually repeats a check until it does not throw.
async function eventually(check, milliseconds = PATIENCE) {
  for (const end = Date.now() + milliseconds; ; await sleep(50)) {
    try {
      return await check()
    } catch (error) {
      if (Date.now() > end) throw error
    }
  }
}

module.exports = {
  Code, CodedError, Difference, NoApi, Partly, PATIENCE, eventually, expectCode, must, numbered, readBack, readCount, same, write,
}
