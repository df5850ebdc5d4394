"""qemu-storage-daemon: block nodes of QEMU in front of a file, seen as a file again by FUSE."""

import json
import os
import signal
import socket
import subprocess
import time

from medium import Process, RigError

EXPORT_SECONDS = 20


class StorageDaemon:
    """Exports a node of the given nodes as a file of `size` bytes at `path`."""

    def __init__(self, rig, nodes, exported, size):
        self.path = rig.dir / "export"
        self.path.touch()
        control = rig.dir / "control"
        command = ["qemu-storage-daemon"]
        for node in nodes:
            command += ["--blockdev", json.dumps(node)]
        export = {"type": "fuse", "id": "export", "node-name": exported, "mountpoint": str(self.path), "writable": True}
        command += ["--export", json.dumps(export)]
        command += ["--chardev", f"socket,path={control},server=on,wait=off,id=control", "--monitor", "chardev=control"]
        self.process = rig.start(Process(*command))
        deadline = time.monotonic() + EXPORT_SECONDS
        while os.stat(self.path).st_size != size:
            if not self.process.is_alive():
                raise RigError(f"qemu-storage-daemon ended: {self.process.status(5)}, {self.process.all_text()}")
            if time.monotonic() > deadline:
                raise RigError(f"qemu-storage-daemon exports nothing: {self.process.all_text()}")
            time.sleep(0.01)
        rig.mounts.append(self.path)
        self.rig = rig
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(20)
        self.control.connect(str(control))
        self.lines = self.control.makefile("r")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, arguments=None):
        """A command of QEMU's own protocol."""
        asked = {"execute": command} | ({"arguments": arguments} if arguments else {})
        self.control.sendall(json.dumps(asked).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise RigError(f"qemu-storage-daemon refuses {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def stop(self):
        """Ends it in an orderly way: the files are complete then."""
        self.control.close()
        self.process.child.send_signal(signal.SIGTERM)
        status = self.process.status(30)
        if status != 0:
            raise RigError(f"qemu-storage-daemon ended with status {status}: {self.process.all_text()}")
        self.rig.mounts.remove(self.path)
        # The mount goes with the daemon; if it has not yet, it must not hide the file.
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)
