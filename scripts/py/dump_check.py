"""Has Kafka's own DumpLogSegments read the files of a stopped broker, and judges what it prints.

Usage: dump_check.py LIB_DIRECTORY DATA_DIRECTORY [--index-interval BYTES]
       [--expect TOPIC=RECORDS:CODEC:SEGMENTS_MIN]... [--group GROUP]...

The tool ends with status 0 whatever it finds, so its text counts. Every line of it must be one that
says that all is well; anything else is a problem. Whether it read what is there is checked against
the files: each batch and record of each log, without gaps from segment to segment, each entry of each
index. An index that is missing, empty or much too short for its log is a problem as well.

--expect: the topic holds so many records in all, its batches have this codec (`any`: whatever), and
one of its partitions has at least so many segments.
--group: the offsets decoder must find commits of this group in __consumer_offsets.

Writes a line `ok NAME` or `FAILED NAME: PROBLEM` for each check.
"""

import argparse
import collections
import itertools
import pathlib
import re
import struct
import subprocess

TOOL_SECONDS_MAX = 240
OFFSET_ENTRY, TIME_ENTRY = struct.Struct(">ii"), struct.Struct(">qi")
# Files named on one command line.
FILES_MAX = 200
PROBLEMS_SHOWN = 3

BATCH = re.compile(
    r"baseOffset: (?P<base>\d+) lastOffset: (?P<last>\d+) count: (?P<count>\d+) baseSequence: -?\d+"
    r" lastSequence: -?\d+ producerId: -?\d+ producerEpoch: -?\d+ partitionLeaderEpoch: \d+"
    r" isTransactional: (?:true|false) isControl: (?:true|false) deleteHorizonMs: OptionalLong\.empty"
    r" position: (?P<position>\d+) (?:CreateTime|LogAppendTime): \d+ size: (?P<size>\d+) magic: 2"
    r" compresscodec: (?P<codec>\w+) crc: \d+ isvalid: true$"
)
RECORD = re.compile(
    r"\| offset: (?P<offset>\d+) (?:CreateTime|LogAppendTime): \d+ keySize: -?\d+ valueSize: -?\d+"
    r" sequence: -?\d+ headerKeys: \[.*?\](?P<rest>.*)$"
)
INDEX_ENTRY = re.compile(r"offset: \d+ position: \d+$")
TIME_INDEX_ENTRY = re.compile(r"timestamp: \d+ offset: \d+$")
STARTING = re.compile(r"Log starting offset: (\d+)$")
UNDECODED = re.compile(r"key: (Unknown record type|Error at offset)|Failed to decode")
# What a Java runtime or the logging facade says of itself.
NOISE = re.compile(r"^(WARNING: |SLF4J|OpenJDK 64-Bit Server VM warning|Picked up |$)")


class Log:
    """What the tool said of one .log file."""

    def __init__(self):
        self.batches, self.records, self.bytes = 0, 0, 0
        # What the batches' headers say, to be compared with the records found.
        self.counted = 0
        self.first, self.next = None, None
        self.codecs = collections.Counter()


def base_offset(path):
    return int(path.name.split(".")[0])


def run(lib, arguments, files):
    """The tool's lines on standard output and standard error."""
    out, err = [], []
    for at in range(0, len(files), FILES_MAX):
        command = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{lib}/*"]
        command += ["org.apache.kafka.tools.DumpLogSegments", *arguments, "--files"]
        command.append(",".join(map(str, files[at : at + FILES_MAX])))
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TOOL_SECONDS_MAX)
        out += ran.stdout.splitlines()
        err += [line for line in ran.stderr.splitlines() if not NOISE.match(line)]
        if ran.returncode != 0:
            err.append(f"the tool ended with status {ran.returncode}")
    return out, err


def by_file(lines, problems):
    """The tool's lines for each file."""
    sections, current = {}, None
    for line in lines:
        if line.startswith("Dumping "):
            current = sections.setdefault(pathlib.Path(line.removeprefix("Dumping ")), [])
        elif current is None:
            problems.append(line)
        else:
            current.append(line)
    return sections


def gaps_that_are_none(lines):
    """Drops what the tool says of segments that do not begin at offset 0: it takes -1 for the offset
    before the first one of every file."""
    kept, path = [], None
    for line in lines:
        if line.startswith("Non-consecutive offsets in "):
            path = pathlib.Path(line.removeprefix("Non-consecutive offsets in "))
        elif path is not None and line.startswith("  "):
            if line != f"  -1 is followed by {base_offset(path)}":
                kept.append(f"non-consecutive offsets in {path}: {line.strip()}")
        else:
            path = None
            kept.append(line)
    return kept


def read_log(path, lines, problems, decoded=None):
    log = Log()
    for line in lines:
        if batch := BATCH.match(line):
            if int(batch["position"]) != log.bytes:
                problems.append(f"{path}: a batch at {batch['position']}, expected at {log.bytes}")
            if log.next is not None and int(batch["base"]) != log.next:
                problems.append(f"{path}: a batch begins with offset {batch['base']}, expected {log.next}")
            if int(batch["last"]) - int(batch["base"]) + 1 != int(batch["count"]):
                problems.append(f"{path}: {line}")
            log.first = int(batch["base"]) if log.first is None else log.first
            log.next = int(batch["last"]) + 1
            log.batches += 1
            log.bytes += int(batch["size"])
            log.codecs[batch["codec"]] += 1
            log.counted += int(batch["count"])
        elif record := RECORD.match(line):
            log.records += 1
            if decoded is not None:
                decoded.append(record["rest"])
            elif record["rest"]:
                problems.append(f"{path}: {line}")
        elif start := STARTING.match(line):
            if int(start[1]) != base_offset(path):
                problems.append(f"{path}: {line}")
        elif line:
            problems.append(f"{path}: {line}")
    if log.bytes != path.stat().st_size:
        problems.append(f"{path}: {log.bytes} bytes were read of {path.stat().st_size}")
    if log.records != log.counted:
        problems.append(f"{path}: {log.records} records were read of {log.counted}")
    if log.first is not None and log.first != base_offset(path):
        problems.append(f"{path}: begins with offset {log.first}")
    return log


def check_logs(args, logs, problems):
    sections_out, err = run(args.lib, ["--deep-iteration"], logs)
    problems += gaps_that_are_none(err)
    sections = by_file(sections_out, problems)
    read = {}
    for path in logs:
        if path not in sections:
            problems.append(f"{path}: the tool did not read it")
            continue
        read[path] = read_log(path, sections[path], problems)
    by_partition = collections.defaultdict(list)
    for path, log in sorted(read.items()):
        by_partition[path.parent].append((path, log))
    for segments in by_partition.values():
        for (_, log), (path, _) in itertools.pairwise(segments):
            if log.next is None or base_offset(path) != log.next:
                problems.append(f"{path}: follows a segment that ends before offset {log.next}")
    return by_partition


def check_indexes(args, paths, entry, pattern, problems):
    """How many entries the tool read."""
    out, err = run(args.lib, [], paths)
    problems += err
    sections = by_file(out, problems)
    total = 0
    for path in paths:
        if path not in sections:
            problems.append(f"{path}: the tool did not read it")
            continue
        entries = 0
        for line in sections[path]:
            if pattern.match(line):
                entries += 1
            elif line and line != f"{path} is empty.":
                problems.append(f"{path}: {line}")
        if entries * entry.size != path.stat().st_size:
            problems.append(f"{path}: {entries} entries were read of {path.stat().st_size} bytes")
        total += entries
    return total


def check_expected(text, by_partition):
    topic, rest = text.split("=")
    count, codec, segments_min = rest.split(":")
    mine = {d: s for d, s in by_partition.items() if d.name.rsplit("-", 1)[0] == topic}
    records = sum(log.records for segments in mine.values() for _, log in segments)
    codecs = sum((log.codecs for segments in mine.values() for _, log in segments), collections.Counter())
    most = max(map(len, mine.values()), default=0)
    if records != int(count):
        return f"{topic} has {records} records"
    if codec != "any" and codecs[codec] < 0.99 * codecs.total():
        return f"{topic} has batches of {dict(codecs)}"
    if most < int(segments_min):
        return f"{topic} has {most} segments"
    return None


def check_groups(args, logs, problems):
    """How many commits of each group were decoded, and how many records of any kind."""
    mine = [path for path in logs if path.parent.name.startswith("__consumer_offsets-") and path.stat().st_size]
    if not mine:
        problems.append("__consumer_offsets is empty")
        return "", 0
    out, err = run(args.lib, ["--offsets-decoder"], mine)
    problems += gaps_that_are_none(err)
    sections, decoded = by_file(out, problems), []
    for path in mine:
        read_log(path, sections.get(path, []), problems, decoded)
    problems += [text for text in decoded if UNDECODED.search(text)]
    commits = {}
    for group in args.group:
        commit = re.compile(r'"type":"1","data":\{"group":"' + re.escape(group) + r'".*payload: .*"offset":\d+')
        commits[group] = sum(1 for text in decoded if commit.search(text))
        if not commits[group]:
            problems.append(f"no commit of group {group} was decoded; the first record is {decoded[:1]}")
    return ", ".join(f"{count} commits of {group}" for group, count in commits.items()), len(decoded)


def report(name, problems):
    if not problems:
        print(f"ok {name}")
        return
    shown = "; ".join(p.strip() for p in problems[:PROBLEMS_SHOWN])
    more = f" and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
    print(f"FAILED {name}: {shown}{more}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lib", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--expect", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--index-interval", type=int, default=4096)
    args = parser.parse_args()
    data = args.data.resolve()
    logs = sorted(data.glob("*/*.log"))
    problems = [] if logs else [f"there is no log in {data}"]
    by_partition = check_logs(args, logs, problems) if logs else {}
    batches = sum(log.batches for segments in by_partition.values() for _, log in segments)
    records = sum(log.records for segments in by_partition.values() for _, log in segments)
    if not records:
        problems.append("no record was read")
    report(f"logs: {len(logs)} files, {batches} batches, {records} records", problems)

    for suffix, entry, pattern in (("index", OFFSET_ENTRY, INDEX_ENTRY), ("timeindex", TIME_ENTRY, TIME_INDEX_ENTRY)):
        problems = []
        for segments in by_partition.values():
            for path, log in segments:
                index = path.with_suffix(f".{suffix}")
                size = index.stat().st_size // entry.size if index.exists() else 0
                # Two batches or more, beyond two intervals: it must have been time for an entry.
                if log.batches > 2 and log.bytes > 2 * args.index_interval + log.bytes / log.batches * 2 and not size:
                    problems.append(f"{index} has no entry for {log.bytes} bytes of log")
        paths = sorted(data.glob(f"*/*.{suffix}"))
        entries = check_indexes(args, paths, entry, pattern, problems) if paths else 0
        if not entries:
            problems.append("no entry was read")
        report(f"{suffix} files: {len(paths)} with {entries} entries", problems)

    for text in args.expect:
        problem = check_expected(text, by_partition)
        report(f"expected {text}", [problem] if problem else [])
    if args.group:
        problems = []
        commits, records = check_groups(args, logs, problems)
        report(f"offsets decoder: {commits} in {records} records", problems)


main()
