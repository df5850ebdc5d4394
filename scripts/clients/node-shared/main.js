// The program of a Node client: see usage.
'use strict'

const { Difference, NoApi, Partly } = require('./checks.js')
const { features } = require('./features.js')

const AT_A_TIME = 6

const usage = program => `Checks a Kafka client against a broker.

Usage:
  ${program} features BROKER             run all checks, a line for each
  ${program} member BROKER TOPIC GROUP   read as a member of a group until SIGTERM
Example: ${program} features 127.0.0.1:9092
`

// runFeatures runs several at a time, those with members of a group last, and prints in order.
async function runFeatures(library, broker) {
  const run = Date.now().toString(16)
  const results = new Map()
  let printed = 0
  let good = true
  const print = () => {
    for (; printed < features.length && results.has(features[printed].name); printed++) {
      console.log(results.get(features[printed].name))
    }
  }
  const check = async ({ name, check }) => {
    let line = `ok ${name}`
    try {
      await check({ library, broker, run, name: of => `${of}-${run}` })
    } catch (error) {
      if (error instanceof Partly) {
        line = `ok ${name}: ${error.message}`
      } else if (error instanceof NoApi) {
        line = `none ${name}: ${error.message}`
      } else {
        good &&= error instanceof Difference
        line = `FAILED ${name}: ${String(error?.stack ?? error).split('\n').slice(0, 3).join('; ')}`
      }
    }
    results.set(name, line)
    print()
  }
  const lane = async queue => {
    for (let feature; (feature = queue.shift()); ) await check(feature)
  }
  const queue = features.filter(feature => !feature.alone)
  await Promise.all(Array.from({ length: AT_A_TIME }, () => lane(queue)))
  await lane(features.filter(feature => feature.alone))
  return good
}

// member prints what it is given and reads, and commits after printing. Every line is one write.
async function member(library, topic, group) {
  const consumer = await library.join({
    group,
    topics: [topic],
    session: 6000,
    assigned: partitions => {
      const numbers = partitions.map(one => one.partition).sort((a, b) => a - b)
      process.stdout.write(`assigned ${numbers.join(',')}\n`)
    },
  })
  process.once('SIGTERM', () => {
    consumer.close().then(() => process.exit(0), failed)
  })
  for (;;) {
    const record = await consumer.next(2 ** 31 - 1)
    process.stdout.write(`${record.partition} ${record.offset} ${record.value}\n`)
    try {
      await consumer.commit(record, '')
    } catch (error) {
      // A rebalance came between: the record is read again by whoever has its partition now.
      console.error(`member: commit: ${error.message}`)
    }
  }
}

function failed(error) {
  console.error(error)
  process.exit(1)
}

// main is given a function that makes the library for a broker's address.
function main(open) {
  const [command, broker, ...rest] = process.argv.slice(2)
  if (command === 'features' && broker && rest.length === 0) {
    open(broker)
      .then(library => runFeatures(library, broker))
      .then(good => process.exit(good ? 0 : 1), failed)
  } else if (command === 'member' && rest.length === 2) {
    open(broker).then(library => member(library, ...rest)).catch(failed)
  } else if (command === '--help' || command === '-h') {
    console.log(usage(process.argv[1]))
  } else {
    console.error(usage(process.argv[1]))
    process.exit(2)
  }
}

module.exports = { main }
