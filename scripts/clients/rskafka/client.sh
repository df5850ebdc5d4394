# rskafka: a small client in Rust, without groups. See scripts/client for what these mean.
# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/clients/rust/install.sh
. "$SCRIPTS/clients/rust/install.sh"
CLIENT_NAME="rskafka"
CLIENT_LANGUAGE="Rust"
CLIENT_VERSION=$(rust_version rskafka)

client_install() { rust_install rskafka; }
client_run() { exec "$TOOLS/clients/rust/debug/rskafka" "$@"; }
