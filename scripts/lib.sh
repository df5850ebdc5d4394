# Shared by the acceptance scripts, which source it: tools, a broker to test, checks that count.
#
# Environment:
#   RINGMAIN     the ringmain to test [default: built with `cargo build --release`]
#   RINGMAIN_IO  blocking or uring; the broker reads it [default: the broker chooses]
#   KEEP=1       leave the temporary directory with all logs in place
#
# Every wait has a bound. A script that ends before `finish` counts that as a failure.
# shellcheck shell=bash
# Assigned here for the scripts that source this file.
# shellcheck disable=SC2034

set -euo pipefail
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$SCRIPTS")
TOOLS=$REPO/.work
ME=$(basename "$0")

CONFLUENT_KAFKA_VERSION=2.16.1
KAFKA_VERSION=4.3.1
SLF4J_VERSION=1.7.36
DEPENDENCY_PLUGIN_VERSION=3.8.1
PYTHON=$TOOLS/venv/bin/python
KAFKA=$TOOLS/kafka-$KAFKA_VERSION

PASSED=0
FAILED=0
FINISHED=
WORK=
BROKER=
BROKER_PID=
BROKER_PORT=
# A signal may be handled while a function's output goes to a file: the last line must not.
exec {STDOUT}>&1 {STDERR}>&2

# ---- what people see -------------------------------------------------------------------------

say() { printf '%s: %s\n' "$ME" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# The comment at the head of the script is its help.
usage() { sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"; }

# help_if_asked ARGS...: prints the help and ends if an argument asks for it.
help_if_asked() {
  local arg
  for arg in "$@"; do
    case $arg in -h | --help) FINISHED=1; usage; exit 0 ;; esac
  done
}

# no_arguments ARGS...: for scripts that take none but --help.
no_arguments() {
  help_if_asked "$@"
  [ $# -eq 0 ] || { FINISHED=1; die "unknown argument $1; see $ME --help"; }
}

ok() {
  PASSED=$((PASSED + 1))
  printf 'ok      %s\n' "$*" >&2
}

failed() {
  FAILED=$((FAILED + 1))
  printf 'FAILED  %s\n' "$*" >&2
}

# check NAME COMMAND...: counts whether the command succeeds. Functions called here run without
# `set -e`, so they join their steps with &&.
check() {
  local name=$1
  shift
  if "$@"; then ok "$name"; else failed "$name"; fi
}

# same_sum WHAT FILE SHA256
same_sum() {
  local sum
  sum=$(sha256sum "$2" | cut -d ' ' -f 1)
  if [ "$sum" = "$3" ]; then ok "$1"; else
    failed "$1: SHA-256 is $sum, expected $3 ($(wc -l <"$2") lines, $(wc -c <"$2") bytes came)"
  fi
}

# counted SECONDS COMMAND...: runs a program that writes a line `ok NAME` or `FAILED NAME: WHY` for
# each of its checks, and counts them. Ending badly, or without any check, is a failure too.
counted() {
  local seconds=$1 out status=0 word rest oks=0 bad=0
  shift
  out=$(mktemp -p "$WORK" counted.XXXXXX)
  bounded "$seconds" "$@" >"$out" || status=$?
  while read -r word rest; do
    case $word in
      ok) ok "$rest" && oks=$((oks + 1)) ;;
      FAILED) failed "$rest" && bad=$((bad + 1)) ;;
      *) say "$word $rest" ;;
    esac
  done <"$out"
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
    failed "$(basename "${2:-$1}") ended with status $status"
  elif [ $((oks + bad)) -eq 0 ]; then
    failed "$(basename "${2:-$1}") checked nothing"
  fi
}

# include SECONDS SCRIPT ARGS...: runs another of these scripts and adds its counts.
include() {
  local seconds=$1 script=$2 status=0
  shift 2
  bounded "$seconds" "$SCRIPTS/$script" "$@" >"$WORK/included-$script" || status=$?
  add_counts "$script" "$status" "$WORK/included-$script"
}

# add_counts SCRIPT STATUS OUTPUT_FILE: adds what another of these scripts counted, whose last line tells.
add_counts() {
  local script=$1 status=$2 last
  last=$(tail -n 1 "$3")
  sed '$d' "$3" >&2
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    PASSED=$((PASSED + BASH_REMATCH[1]))
    FAILED=$((FAILED + BASH_REMATCH[2]))
    if [ $((BASH_REMATCH[1] + BASH_REMATCH[2])) -eq 0 ]; then failed "$script checked nothing"; fi
    if [ "$status" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then failed "$script ended with status $status"; fi
  else
    failed "$script ended with status $status and without a result"
  fi
}

# The last line of every script, and its exit status.
finish() {
  if [ $((PASSED + FAILED)) -eq 0 ]; then failed "nothing was checked"; fi
  FINISHED=1
  if [ "$FAILED" -ne 0 ] && [ -s "$WORK/broker.log" ]; then
    say "the end of the broker's log:"
    tail -n 30 "$WORK/broker.log" >&2
  fi
  printf '%s passed, %s failed\n' "$PASSED" "$FAILED"
  [ "$FAILED" -eq 0 ] || exit 1
  exit 0
}

# ---- processes and files, and their end ------------------------------------------------------

# in_scratch: makes the temporary directory $WORK.
in_scratch() {
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/ringmain-$ME.XXXXXX")
}

# Ends every process that this shell started: politely, then by force.
end_children() {
  local pids i
  pids=$(jobs -pr)
  [ -n "$pids" ] || return 0
  # shellcheck disable=SC2086
  kill -TERM $pids 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do
    pids=$(jobs -pr)
    [ -n "$pids" ] || return 0
    sleep 0.05
  done
  # shellcheck disable=SC2086
  kill -KILL $pids 2>/dev/null || true
  # shellcheck disable=SC2086
  wait $pids 2>/dev/null || true
}

cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  exec 1>&"$STDOUT"
  exec 2>&"$STDERR"
  end_children
  if [ -z "$FINISHED" ]; then
    say "ended early with status $status"
    if [ -n "$WORK" ] && [ -s "$WORK/broker.log" ]; then tail -n 30 "$WORK/broker.log" >&2; fi
    printf '%s passed, %s failed\n' "$PASSED" "$((FAILED + 1))"
    [ "$status" -ne 0 ] || status=1
  fi
  if [ -n "$WORK" ]; then
    if [ "${KEEP:-}" = 1 ]; then say "kept $WORK"; else rm -rf -- "$WORK"; fi
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# bounded SECONDS COMMAND...: the command's status, or 124 if it took too long. It runs in the
# background and is waited for, because bash acts on a signal during `wait` and not before the end
# of a command in the foreground. Not for use in a pipe, whose subshell would have no trap.
bounded() {
  local seconds=$1 status=0
  shift
  timeout --foreground -k 5 "$seconds" "$@" <&0 &
  wait $! || status=$?
  return "$status"
}

# until_true SECONDS COMMAND...: tries the command until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

ended() { ! kill -0 "$1" 2>/dev/null; }

# ---- the broker ------------------------------------------------------------------------------

# need_ringmain: sets RINGMAIN to an absolute path of a program that runs.
need_ringmain() {
  if [ -z "${RINGMAIN:-}" ]; then
    command -v cargo >/dev/null || die "cargo is missing; install Rust or set RINGMAIN=path/to/ringmain"
    say "building the release binary"
    (cd "$REPO" && cargo build --release --quiet) >&2
    RINGMAIN=${CARGO_TARGET_DIR:-$REPO/target}/release/ringmain
  fi
  RINGMAIN=$(realpath -- "$RINGMAIN")
  "$RINGMAIN" --version >&2 || die "$RINGMAIN does not run; set RINGMAIN=path/to/ringmain"
  export RINGMAIN
}

# free_port: a free port of 127.0.0.1 below those that the system gives to outgoing connections: a
# client that keeps connecting while the broker is down could else be given the broker's own port.
free_port() {
  python3 - <<'PY'
import random, socket
low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
for _ in range(200):
    port = random.randrange(10000, max(low, 11000))
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
else:
    raise SystemExit("no free port found")
PY
}

is_ready() { grep -q '^ringmain ready ' "$WORK/broker.out" || ended "$BROKER_PID"; }

# start_broker DATA_DIR ARGS...: on $BROKER_PORT, which is chosen at the first start. Logs go to
# $WORK/broker.log.
start_broker() {
  local data=$1
  shift
  BROKER_PORT=${BROKER_PORT:-$(free_port)}
  BROKER=127.0.0.1:$BROKER_PORT
  : >"$WORK/broker.out"
  "$RINGMAIN" serve --data-dir "$data" --listen "$BROKER" "$@" >"$WORK/broker.out" 2>>"$WORK/broker.log" </dev/null &
  BROKER_PID=$!
  until_true 60 is_ready || die "the broker was not ready within 60 s"
  grep -qx "ringmain ready $BROKER" "$WORK/broker.out" || die "the broker did not start: $(tail -n 1 "$WORK/broker.log")"
  # Whoever asked for an I/O mode must get it, or two runs would test one mode twice.
  if [ -n "${RINGMAIN_IO:-}" ]; then
    grep -q "io=\"$RINGMAIN_IO\"" "$WORK/broker.log" || die "the broker does not run with RINGMAIN_IO=$RINGMAIN_IO"
  fi
}

# stop_broker: cleanly; anything but status 0 within 30 s is an error.
stop_broker() {
  local pid=$BROKER_PID status=0
  kill -TERM "$pid"
  if ! until_true 30 ended "$pid"; then
    kill -KILL "$pid"
    say "the broker did not stop within 30 s"
    return 1
  fi
  wait "$pid" || status=$?
  BROKER_PID=
  [ "$status" -eq 0 ] || { say "the broker stopped with status $status"; return 1; }
}

# kill_broker: as a crash of the process.
kill_broker() {
  kill -KILL "$BROKER_PID"
  # Status 137 is what was asked for.
  wait "$BROKER_PID" 2>/dev/null || true
  BROKER_PID=
}

# ---- tools -----------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "needs root for: $*; run it as root, then start this script again"
  fi
}

# need PROGRAM PACKAGE: installs Debian's package if the program is missing.
need() {
  command -v "$1" >/dev/null && return 0
  with_lock debian_packages "$2" || die "$2 could not be installed"
  command -v "$1" >/dev/null || die "$2 was installed and $1 is still missing"
}

debian_packages() {
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >&2 ||
    { as_root apt-get update -q >&2 && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >&2; }
}

# with_lock COMMAND...: one installation at a time, also between scripts. What it calls may call it again.
with_lock() {
  [ -z "${LOCKED:-}" ] || { "$@"; return; }
  mkdir -p "$TOOLS"
  local status=0 LOCKED=1
  exec {lock_fd}>"$TOOLS/lock"
  flock -w 600 "$lock_fd" || die "$TOOLS/lock is held by another installation"
  "$@" || status=$?
  exec {lock_fd}>&-
  return "$status"
}

need_kcat() { need kcat kcat; }
need_strace() { need strace strace; }
need_system_python() { need python3 python3; }

# need_python: a virtual environment with the pinned confluent-kafka.
need_python() {
  need_venv venv "confluent-kafka==$CONFLUENT_KAFKA_VERSION" ||
    die "confluent-kafka $CONFLUENT_KAFKA_VERSION could not be installed"
}

# need_venv NAME PACKAGE==VERSION...: the virtual environment .work/NAME with these packages.
need_venv() {
  need_system_python
  [ "$(cat "$TOOLS/$1/.packages" 2>/dev/null)" = "${*:2}" ] || with_lock make_venv "$@"
}

make_venv() {
  local venv=$TOOLS/$1
  shift
  [ "$(cat "$venv/.packages" 2>/dev/null)" != "$*" ] || return 0
  say "installing $* into ${venv#"$REPO"/}"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv >&2 &&
      rm -rf "$venv" && python3 -m venv "$venv" >&2 || return 1
  fi
  "$venv/bin/pip" install -q --disable-pip-version-check "$@" >&2 && echo "$*" >"$venv/.packages"
}

# need_kafka: Apache Kafka's own command line tools.
need_kafka() {
  need java default-jre-headless
  [ -f "$KAFKA/.complete" ] || with_lock get_kafka || die "Kafka $KAFKA_VERSION could not be installed"
}

get_kafka() {
  [ ! -f "$KAFKA/.complete" ] || return 0
  need mvn maven
  say "getting Kafka's tools $KAFKA_VERSION into .work/kafka-$KAFKA_VERSION"
  rm -rf "$KAFKA"
  mkdir -p "$KAFKA"
  cat >"$KAFKA/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringmain</groupId><artifactId>kafka-tools</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$SLF4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
  (cd "$KAFKA" && mvn -B -q "org.apache.maven.plugins:maven-dependency-plugin:$DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DoutputDirectory="$KAFKA/lib") >&2 && touch "$KAFKA/.complete"
}

# kafka_tool SECONDS CLASS ARGS...
kafka_tool() {
  local seconds=$1
  shift
  bounded "$seconds" java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$KAFKA/lib/*" "$@"
}
