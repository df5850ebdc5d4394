"""Makes a copy of the repository whose journal is written past the page cache, but not flushed by the device:
what a rig is worth that never reports anything, shows when it meets such an engine.

Usage: without_sync.py REPOSITORY COPY
"""

import pathlib
import shutil
import sys

# File, what is in it exactly once, and what comes instead of it. Whoever changes how the engine makes
# data durable changes this table too: a text that is not found ends the script.
UNSYNCED = (
    (
        "engine/src/io/direct.rs",
        "(Way::DirectDsync, libc::O_DIRECT | libc::O_DSYNC),",
        "(Way::DirectDsync, libc::O_DIRECT),",
    ),
)

IGNORED = shutil.ignore_patterns("target", ".git", ".work", ".venv", "ringmain-data")


def main(repository, copy):
    shutil.rmtree(copy, ignore_errors=True)
    # Times of files are kept, so that building again costs little.
    shutil.copytree(repository, copy, ignore=IGNORED, symlinks=True)
    for name, text, instead in UNSYNCED:
        file = copy / name
        source = file.read_text()
        if source.count(text) != 1:
            sys.exit(f"{name} has {source.count(text)} times what was to be replaced once:\n{text}\n"
                     "adapt the table in scripts/py/without_sync.py")
        file.write_text(source.replace(text, instead))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
