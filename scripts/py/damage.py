"""Damages a file of a log, to see that a check notices.

Usage: damage.py KIND FILE

KIND: flip-bit     one bit in the middle of a .log file
      cut          the last 7 bytes of a .log file
      position     an entry of an .index file points 1 byte further
      offset       an entry of an .index file names the offset before
      timestamp    an entry of a .timeindex file names a later millisecond
      time-offset  an entry of a .timeindex file names the offset before
"""

import pathlib
import struct
import sys


def change(data, at, layout, field, by):
    values = list(struct.unpack_from(layout, data, at))
    values[field] += by
    struct.pack_into(layout, data, at, *values)


def main():
    kind, path = sys.argv[1], pathlib.Path(sys.argv[2])
    data = bytearray(path.read_bytes())
    entries = {"position": 8, "offset": 8, "timestamp": 12, "time-offset": 12}
    if kind in entries:
        size = entries[kind]
        if len(data) < 3 * size:
            sys.exit(f"{path} has too few entries")
        middle = len(data) // size // 2 * size
    if kind == "flip-bit":
        data[len(data) // 2] ^= 0x10
    elif kind == "cut":
        del data[-7:]
    elif kind == "position":
        change(data, middle, ">ii", 1, 1)
    elif kind == "offset":
        change(data, middle, ">ii", 0, -1)
    elif kind == "timestamp":
        change(data, middle, ">qi", 0, 1)
    elif kind == "time-offset":
        change(data, middle, ">qi", 1, -1)
    else:
        sys.exit(f"unknown kind {kind}")
    path.write_bytes(data)


main()
