"""Runs a command as systemd would, and checks that it says READY=1, and STOPPING=1 after SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "notify")
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(path)
    told.settimeout(20)
    process = subprocess.Popen(sys.argv[1:], env={**os.environ, "NOTIFY_SOCKET": path})
    try:
        for state in ("READY=1", "STOPPING=1"):
            lines = []
            while state not in lines:
                lines = told.recv(4096).decode().splitlines()
            process.send_signal(signal.SIGTERM)
        status = process.wait(20)
    finally:
        process.kill()
    if status != 0:
        sys.exit(f"the command ended with status {status}")
