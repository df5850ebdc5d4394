// Two members of a group, which are processes: one leaves, or one is killed.
'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { spawn } = require('node:child_process')
const { once } = require('node:events')

const { PATIENCE, eventually, must, write } = require('./checks.js')

const PARTITIONS = 4
const KEYS = 20
const ALL = '0,1,2,3'

class Group {
  constructor(c, topic, name) {
    Object.assign(this, { c, topic, group: name, written: 0, members: [] })
    // Members append to one file, so that the order between them is known.
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ringmain-group.'))
    this.file = path.join(this.directory, 'output')
    this.output = fs.openSync(this.file, 'a')
  }

  static async make(c, of) {
    const topic = c.name(of)
    await c.library.createTopic(topic, PARTITIONS, {})
    return new Group(c, topic, topic)
  }

  // end kills what still runs.
  async end() {
    for (const member of this.members) {
      if (member.exitCode === null && member.signalCode === null) {
        member.kill('SIGKILL')
        await once(member, 'exit')
      }
    }
    fs.closeSync(this.output)
    fs.rmSync(this.directory, { recursive: true })
  }

  // start starts a member: the words of CLIENT_SELF, or this program.
  start() {
    const words = process.env.CLIENT_SELF?.split(' ') ?? process.argv.slice(0, 2)
    const args = [...words.slice(1), 'member', this.c.broker, this.topic, this.group]
    const member = spawn(words[0], args, { stdio: ['ignore', this.output, 'inherit'] })
    this.members.push(member)
    return member
  }

  // write writes records with numbers that count up in each key. A key has one partition.
  async write(count) {
    const messages = Array.from({ length: count }, (_, i) => {
      const key = (this.written + i) % KEYS
      const number = Math.floor((this.written + i) / KEYS)
      return { partition: key % PARTITIONS, key: Buffer.from(`k${key}`), value: Buffer.from(`k${key}:${number}`) }
    })
    await write(this.c.library, this.topic, messages, { first: this.written / PARTITIONS })
    this.written += count
  }

  // seen is what members have printed: assignments (empty ones left out), and what was read first.
  seen() {
    const lines = fs.readFileSync(this.file, 'utf8').split('\n').slice(0, -1)
    const assignments = []
    const records = new Map()
    for (const line of lines) {
      const [first, second, value] = line.split(' ')
      if (first === 'assigned') {
        if (second) assignments.push(second)
      } else {
        must(/^\d+ \d+ \S+$/.test(line), `a member printed ${JSON.stringify(line)}`)
        if (!records.has(`${first} ${second}`)) records.set(`${first} ${second}`, value)
      }
    }
    return { assignments, values: [...records.values()] }
  }

  // until waits until something is so.
  async until(what, so, milliseconds = PATIENCE) {
    await eventually(() => {
      const seen = this.seen()
      must(so(seen), `not within ${milliseconds} ms: ${what}; assigned were ${JSON.stringify(seen.assignments)}, ` +
        `${seen.values.length} of ${this.written} records came`)
    }, milliseconds)
  }

  // inOrder checks that the records of each key were first read in the order of writing, none missing.
  inOrder() {
    const next = new Map()
    for (const value of this.seen().values) {
      const [key, number] = value.split(':')
      const due = next.get(key) ?? 0
      must(Number(number) === due, `key ${key}: ${number} came where ${due} was due`)
      next.set(key, due + 1)
    }
    for (let key = 0; key < KEYS; key++) {
      must(next.get(`k${key}`) === this.written / KEYS, `key k${key}: ${next.get(`k${key}`)} records came, not ${this.written / KEYS}`)
    }
  }

  // committed waits until everything is committed, and sees that no offset goes back.
  async committed(least) {
    const goesBack = []
    await eventually(async () => {
      const now = await this.c.library.committed(this.group, this.topic)
      for (const [partition, { offset }] of least) {
        const later = now.get(partition)?.offset ?? -1
        if (later < offset) goesBack.push(`the offset of partition ${partition} went from ${offset} back to ${later}`)
      }
      least = now
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const offset = now.get(partition)?.offset
        must(offset === this.written / PARTITIONS, `the offset of partition ${partition} is ${offset}, not ${this.written / PARTITIONS}`)
      }
    })
    must(goesBack.length === 0, goesBack.join(', '))
  }

  // twoMembers brings the group to where two members share the partitions, with records in flight.
  async twoMembers() {
    this.start()
    await this.until('the first member has all partitions', alone)
    await this.write(200)
    const second = this.start()
    await this.until('two members share the partitions', shared)
    await this.write(400)
    await this.until('some of it is read', ({ values }) => values.length > 300)
    return second
  }

  // rest writes and waits for the rest of 1000 records, and checks them all.
  async rest(committed) {
    await this.write(1000 - this.written)
    await this.until('everything is read', ({ values }) => values.length >= this.written)
    this.inOrder()
    await this.committed(committed)
  }
}

// alone: the last assignment that anybody was given is of everything.
const alone = ({ assignments }) => assignments.at(-1) === ALL

// shared: the last two assignments are two halves.
function shared({ assignments }) {
  const [a, b] = assignments.slice(-2).map(one => one.split(','))
  return b !== undefined && a.length === 2 && [...a, ...b].sort().join(',') === ALL
}

async function ended(member) {
  const timer = setTimeout(() => member.kill('SIGKILL'), PATIENCE)
  const [code, signal] = member.exitCode !== null ? [member.exitCode, null] : await once(member, 'exit')
  clearTimeout(timer)
  return { code, signal }
}

async function rebalanceJoinLeave(c) {
  const group = await Group.make(c, 'rebalance-leave')
  try {
    const second = await group.twoMembers()
    second.kill('SIGTERM')
    const { code, signal } = await ended(second)
    must(code === 0, `the member that left ended with ${signal ?? `status ${code}`}`)
    // A member that did not say that it leaves would be missed after its session timeout of 6 s only.
    await group.until('the other has all partitions', alone, 5000)
    await group.rest(new Map())
  } finally {
    await group.end()
  }
}

async function rebalanceCrash(c) {
  const group = await Group.make(c, 'rebalance-crash')
  try {
    const second = await group.twoMembers()
    second.kill('SIGKILL')
    const { signal } = await ended(second)
    must(signal === 'SIGKILL', 'the member ended before it was killed')
    const committed = await c.library.committed(group.group, group.topic)
    await group.until('the other has all partitions', alone)
    await group.rest(committed)
  } finally {
    await group.end()
  }
}

module.exports = { rebalanceCrash, rebalanceJoinLeave }
