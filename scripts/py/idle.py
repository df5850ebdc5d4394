"""Measures an idle broker; see scripts/idle.

Usage: idle.py RINGMAIN SCRATCH_DIRECTORY PORT
"""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

READY_SECONDS_MAX = 20
SETTLE_SECONDS = 2
IDLE_SECONDS = 10


def cpu_seconds(pid):
    # The name in parentheses may contain spaces: what counts comes after it.
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)


def switches(pid):
    files = (task / "status" for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    lines = (line for file in files for line in file.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def on_signal(number, _):
    sys.exit(128 + number)


def main():
    ringmain, scratch, port = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    children = []
    address = f"127.0.0.1:{port}"
    try:
        with open(scratch / "broker.log", "w") as log:
            begun = time.monotonic()
            broker = subprocess.Popen(
                [ringmain, "serve", "--data-dir", scratch / "data", "--listen", address],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            children.append(broker)
            if not select.select([broker.stdout], [], [], READY_SECONDS_MAX)[0]:
                sys.exit(f"not ready within {READY_SECONDS_MAX} s")
            line = broker.stdout.readline().decode()
            start = time.monotonic() - begun
        if line != f"ringmain ready {address}\n":
            sys.exit(f"the first line was {line!r}")
        time.sleep(SETTLE_SECONDS)
        figures = {
            "start_ms": round(start * 1000, 1),
            "rss_kib": status(broker.pid, "VmRSS"),
            "threads": status(broker.pid, "Threads"),
        }
        got = scratch / "consumed"
        with open(got, "w") as out:
            command = ["kcat", "-C", "-u", "-q", "-b", address, "-t", "idle", "-p", "0", "-o", "beginning"]
            subprocess.run(["kcat", "-P", "-b", address, "-t", "idle"], input=b"one\n", check=True, timeout=20)
            consumer = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL)
            children.append(consumer)
            # Idle begins when the consumer is connected and has read what there is.
            deadline = time.monotonic() + 20
            while got.read_text() != "one\n":
                if time.monotonic() > deadline:
                    sys.exit("the consumer did not get the one record")
                time.sleep(0.05)
            time.sleep(1)
        cpu, switched = cpu_seconds(broker.pid), switches(broker.pid)
        time.sleep(IDLE_SECONDS)
        figures["idle_cpu_seconds"] = round(cpu_seconds(broker.pid) - cpu, 3)
        figures["idle_switches"] = switches(broker.pid) - switched
        if consumer.poll() is not None:
            sys.exit("the consumer ended early")
        print(json.dumps(figures))
    finally:
        # Another signal must not leave them behind.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # The consumer first: it complains if its broker goes away.
        for child in reversed(children):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


main()
