# Builds the programs of the Go clients; sourced by their client.sh.
# shellcheck shell=bash

GO_MODULE=$SCRIPTS/clients

# go_version MODULE: the version that is pinned in go.mod.
go_version() { awk -v module="$1" '$1 == module { print substr($2, 2) }' "$GO_MODULE/go.mod"; }

# go_install: Go's own cache sees to it that nothing is done twice.
go_install() {
  local client
  client=$(basename "$CLIENT_HOME")
  command -v go >/dev/null || die "Go is missing; install the version that $GO_MODULE/go.mod names, or a later one"
  mkdir -p "$TOOLS/clients/$client"
  (cd "$GO_MODULE" && go build -mod=readonly -o "$TOOLS/clients/$client/$client" "./$client") >&2
}

go_run() {
  local client
  client=$(basename "$CLIENT_HOME")
  exec "$TOOLS/clients/$client/$client" "$@"
}
