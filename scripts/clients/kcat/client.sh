# shellcheck shell=bash disable=SC2034
CLIENT_NAME="kcat (librdkafka)"
CLIENT_LANGUAGE=C
CLIENT_VERSION="1.7.1 (2.0.2)"

client_install() {
  need_kcat && need_system_python || return 1
  local found
  found=$(kcat -V | sed -n 's/^Version \([0-9.]*\) .*librdkafka \([0-9.]*\) .*/\1 (\2)/p')
  [ "$found" = "$CLIENT_VERSION" ] || { say "kcat is of version $found; the matrix was made with $CLIENT_VERSION"; return 1; }
}
client_run() {
  if [ "$1" = member ]; then
    # Its messages about rebalances belong between the records, and must not wait.
    exec kcat -b "$2" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -X heartbeat.interval.ms=500 \
      -X auto.commit.interval.ms=100 -X check.crcs=true -u -f '%p %o %s\n' -G "$4" "$3" 2>&1
  fi
  PYTHONPATH=$SCRIPTS/py exec python3 "$CLIENT_HOME/client.py" "$@"
}
