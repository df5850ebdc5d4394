"""Adds up, from strace -f -yy, how many bytes each call sent to TCP sockets.

Usage: zero_copy.py TRACE DATA_BYTES
"""

import collections
import re
import sys

MIB = 1 << 20
OTHERS_MAX = 0.02
# Which argument is the descriptor written to.
TARGET = collections.defaultdict(int, {"splice": 2})
CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
RESULT = re.compile(r"\) += (-?\d+)")
DESCRIPTOR = re.compile(r"\d+<(?:[^<>]|->|<[^<>]*>)*>")


def main():
    path, data_bytes = sys.argv[1], int(sys.argv[2])
    sent, calls, pending, lines = collections.Counter(), collections.Counter(), {}, 0

    def count(name, target, result):
        if target and "TCP" in target and int(result) > 0:
            sent[name] += int(result)
            calls[name] += 1

    with open(path, errors="replace") as trace:
        for line in trace:
            lines += 1
            if call := CALL.match(line):
                thread, name, rest = call.groups()
                descriptors = DESCRIPTOR.findall(rest)
                target = descriptors[min(TARGET[name], len(descriptors) - 1)] if descriptors else None
                if name == "splice" and len(descriptors) > 1:
                    target = descriptors[1]
                if "<unfinished" in rest:
                    pending[thread] = (name, target)
                elif result := list(RESULT.finditer(rest)):
                    count(name, target, result[-1].group(1))
            elif call := RESUMED.match(line):
                thread, name, rest = call.groups()
                begun, target = pending.pop(thread, (name, None))
                if begun == name and (result := list(RESULT.finditer(rest))):
                    count(name, target, result[-1].group(1))
    by_sendfile = sent.pop("sendfile", 0)
    others = sum(sent.values())
    detail = ", ".join(f"{name} {size} bytes in {calls[name]} calls" for name, size in sorted(sent.items())) or "none"
    print(f"{lines} lines of trace; sendfile {by_sendfile} bytes in {calls['sendfile']} calls; others: {detail}")
    if by_sendfile >= data_bytes >= 64 * MIB:
        print(f"ok sendfile sent the data: {by_sendfile / MIB:.1f} MiB of at least {data_bytes / MIB:.1f}")
    else:
        print(f"FAILED sendfile sent the data: {by_sendfile} bytes, expected {data_bytes}")
    if others < OTHERS_MAX * data_bytes and calls:
        print(f"ok other calls sent {100 * others / data_bytes:.3f} % of it")
    else:
        print(f"FAILED other calls sent {others} bytes, {100 * others / data_bytes:.1f} % of the data: {detail}")


main()
