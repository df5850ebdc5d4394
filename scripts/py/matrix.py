"""Judges what the program of a client printed, and makes the table of all clients.

Usage: matrix.py judge CLIENT_DIR NAME LANGUAGE VERSION STATUS OUTPUT_FILE DATA_DIR RESULT_FILE
       matrix.py table compare|write DOCUMENT RESULTS_DIR [--part]

`judge` prints a line `ok`, `FAILED`, `none` or `differs` for each feature and writes the client's result.
It looks into the data directory, too: a client may silently send without the codec that was asked for.
`table` puts the results of all clients between the document's marks, or compares; with --part, the rows of
those clients which have one.
"""

import json
import pathlib
import sys

from codecs_of import codecs

FEATURES = [
    "produce-none",
    "produce-gzip",
    "produce-snappy",
    "produce-lz4",
    "produce-zstd",
    "headers-keys-nulls",
    "idempotent",
    "assign",
    "subscribe",
    "regex",
    "seek-time",
    "pause",
    "rebalance-join-leave",
    "rebalance-crash",
    "commit-resume",
    "admin-create",
    "admin-describe",
    "admin-alter",
    "admin-delete",
]
BEGIN = "<!-- the client matrix: written by scripts/matrix --write -->\n"
END = "<!-- end of the client matrix -->\n"
CELLS = {"none": "–", "differs": "no"}


def known_differences(client_dir):
    """The explained failures: feature to cause."""
    path, known = client_dir / "known-differences", {}
    for line in path.read_text().splitlines() if path.exists() else []:
        feature, _, cause = line.partition(": ")
        if feature not in FEATURES or not cause:
            raise SystemExit(f"{path}: not a line `FEATURE: CAUSE`: {line}")
        known[feature] = cause
    return known


def judge(client_dir, name, language, version, status, output, data, result):
    known, seen, problems = known_differences(pathlib.Path(client_dir)), {}, []
    # The broker's own topics hold batches without a codec in any case.
    logs = [path for path in pathlib.Path(data).glob("*/*.log") if not path.parent.name.startswith("__")]
    stored = {codec for path in logs for codec, _ in codecs(path)}
    for line in pathlib.Path(output).read_text(errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        feature, _, note = rest.partition(": ")
        if word not in ("ok", "FAILED", "none"):
            print(f"{name} printed: {line}")
        elif feature not in FEATURES:
            problems.append(f"the program printed the unknown feature {feature!r}")
        elif feature in seen:
            problems.append(f"the program printed {feature} twice")
        else:
            seen[feature] = (word, note)
    features = {}
    for feature in FEATURES:
        word, note = seen.get(feature, ("FAILED", "the program said nothing about it"))
        if word == "ok" and feature.startswith("produce-") and feature.removeprefix("produce-") not in stored:
            word, note = "FAILED", f"no batch is stored with this codec, only with {sorted(stored)}"
        cause = known.pop(feature, None)
        if word == "FAILED" and cause:
            features[feature] = ("differs", cause)
            print(f"differs {name}: {feature}: {note}; {cause}")
        elif cause:
            problems.append(f"{feature} is a known difference and did not fail ({word}); take it off the list")
        elif word == "none" and not note:
            problems.append(f"{feature} is `none` without a reason")
        else:
            features[feature] = (word, note)
            print(f"{word} {name}: {feature}{': ' + note if note else ''}")
    if int(status) != 0 and not any(state == "FAILED" for state, _ in features.values()):
        problems.append(f"the program ended with status {status}")
    if not any(state == "ok" for state, _ in features.values()):
        problems.append("no feature passed")
    for problem in problems:
        print(f"FAILED {name}: {problem}")
    found = {"name": name, "language": language, "version": version, "features": features}
    pathlib.Path(result).write_text(json.dumps(found))


def row_of(client):
    cells = [cell_of(*client["features"].get(feature, ("FAILED", ""))) for feature in FEATURES]
    return f"| {client['name']} | {client['language']} | {client['version']} | {' | '.join(cells)} |"


def cell_of(state, note):
    if state == "ok":
        return "in part" if note else "yes"
    return CELLS.get(state, "FAILED")


def notes_of(client, state):
    """Lines `- client: features: note`, those with the same note in one."""
    by_note = {}
    for feature in FEATURES:
        found, note = client["features"].get(feature, ("FAILED", ""))
        if found == state and note:
            by_note.setdefault(note, []).append(f"`{feature}`")
    return [f"- {client['name']}: {', '.join(features)}: {note}" for note, features in by_note.items()]


def section(clients):
    lines = [
        f"| client | language | version | {' | '.join(FEATURES)} |",
        f"| --- | --- | --- |{' --- |' * len(FEATURES)}",
        *(row_of(client) for client in clients),
    ]
    for state, head in (
        ("ok", "What a client does without something (in part):"),
        ("none", "What a client itself has no means for (–):"),
        ("differs", "What fails, and why (no):"),
    ):
        notes = [note for client in clients for note in notes_of(client, state)]
        if notes:
            lines += ["", head, "", *notes]
    return "".join(line + "\n" for line in lines)


def table(mode, document, results, part):
    clients = [json.loads(path.read_text()) for path in sorted(pathlib.Path(results).iterdir())]
    clients.sort(key=lambda client: (client["language"], client["name"]))
    made = section(clients)
    print(made, file=sys.stderr)
    path = pathlib.Path(document)
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{document} must have the marks of the client matrix once")
    before, _, rest = text.partition(BEGIN)
    shown, _, after = rest.partition(END)
    if any(state == "FAILED" for client in clients for state, _ in client["features"].values()):
        print("FAILED the table: not written and not compared, since a client failed")
    elif mode == "write":
        path.write_text(before + BEGIN + "\n" + made + "\n" + END + after)
        print(f"ok the table is written to {document}")
    elif part:
        committed = shown.splitlines()
        for client in clients:
            lines = [row_of(client), *notes_of(client, "ok"), *notes_of(client, "none"), *notes_of(client, "differs")]
            about = [line for line in committed if line.startswith((f"| {client['name']} |", f"- {client['name']}: "))]
            tell(f"the table's lines about {client['name']}", about == lines)
    else:
        tell("the table", shown.strip() == made.strip())


def tell(what, same):
    if same:
        print(f"ok {what}: as in docs/compatibility.md")
    else:
        print(f"FAILED {what}: not as in docs/compatibility.md; see the difference, then run scripts/matrix --write")


def main():
    command, *args = sys.argv[1:]
    if command == "judge":
        judge(*args)
    else:
        mode, document, results, *part = args
        table(mode, document, results, part == ["--part"])


main()
