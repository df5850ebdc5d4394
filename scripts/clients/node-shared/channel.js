// Hands records from a client's callback to a check, one at a time: the callback goes on when the
// check comes for the next record, so that what it does between (a commit) belongs to this one.
'use strict'

class Channel {
  #offered = []
  #takers = []
  #finish = null
  #closed = false

  // put resolves when the record was taken and is done with, or after close.
  put(record) {
    if (this.#closed) return Promise.resolve()
    return new Promise(done => {
      const taker = this.#takers.shift()
      if (taker === undefined) return this.#offered.push({ record, done })
      this.#finish = done
      taker(record)
    })
  }

  // take resolves with the next record; it rejects if none comes in time.
  take(milliseconds) {
    this.#release()
    const offer = this.#offered.shift()
    if (offer !== undefined) {
      this.#finish = offer.done
      return Promise.resolve(offer.record)
    }
    return new Promise((resolve, reject) => {
      const taker = record => {
        clearTimeout(timer)
        resolve(record)
      }
      const timer = setTimeout(() => {
        this.#takers = this.#takers.filter(one => one !== taker)
        reject(new Error(`no record came for ${milliseconds} ms`))
      }, milliseconds)
      this.#takers.push(taker)
    })
  }

  close() {
    this.#closed = true
    this.#release()
    for (const { done } of this.#offered.splice(0)) done()
  }

  #release() {
    this.#finish?.()
    this.#finish = null
  }
}

module.exports = { Channel }
