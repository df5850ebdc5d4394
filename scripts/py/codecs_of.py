"""Checks that the record batches of a partition are stored with a codec.

Usage: codecs_of.py PARTITION_DIRECTORY CODEC

A client sends a batch that does not get smaller as it is: on a busy machine several of a few records. So one byte in a
hundred may be uncompressed.
"""

import pathlib
import struct
import sys

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Before a batch's length-prefixed part come its base offset and that length.
PREFIX = struct.Struct(">qi")
ATTRIBUTES_AT = 21


def codecs(path):
    with open(path, "rb") as log:
        at = 0
        while len(header := log.read(ATTRIBUTES_AT + 2)) == ATTRIBUTES_AT + 2:
            _, length = PREFIX.unpack_from(header)
            yield CODECS[struct.unpack_from(">h", header, ATTRIBUTES_AT)[0] & 7], length
            at += PREFIX.size + length
            log.seek(at)


def main():
    directory, codec = sys.argv[1:]
    found = [c for path in sorted(pathlib.Path(directory).glob("*.log")) for c in codecs(path)]
    lengths = {c: sum(length for other, length in found if other == c) for c in sorted({c for c, _ in found})}
    if not found or lengths.get(codec, 0) < 0.99 * sum(lengths.values()):
        sys.exit(f"{directory} has bytes of {lengths}, expected {codec}")


if __name__ == "__main__":
    main()
