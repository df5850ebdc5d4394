# rdkafka: librdkafka in Rust. See scripts/client for what these mean.
# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/clients/rust/install.sh
. "$SCRIPTS/clients/rust/install.sh"
CLIENT_NAME="rdkafka"
CLIENT_LANGUAGE="Rust"
CLIENT_VERSION=$(rust_version rdkafka)

client_install() { rust_install rdkafka; }
client_run() { exec "$TOOLS/clients/rust/debug/rdkafka" "$@"; }
