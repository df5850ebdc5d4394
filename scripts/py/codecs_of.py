"""Checks that the record batches of a partition are stored with a codec.

Usage: codecs_of.py PARTITION_DIRECTORY CODEC

A client may send a batch that does not get smaller as it is, so one in a hundred may be uncompressed.
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
            yield CODECS[struct.unpack_from(">h", header, ATTRIBUTES_AT)[0] & 7]
            at += PREFIX.size + length
            log.seek(at)


def main():
    directory, codec = sys.argv[1:]
    found = [c for path in sorted(pathlib.Path(directory).glob("*.log")) for c in codecs(path)]
    counts = {c: found.count(c) for c in sorted(set(found))}
    if not found or counts.get(codec, 0) < 0.99 * len(found):
        sys.exit(f"{directory} has batches of {counts}, expected {codec}")


if __name__ == "__main__":
    main()
