# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/clients/go-shared/install.sh
. "$SCRIPTS/clients/go-shared/install.sh"
CLIENT_NAME="segmentio kafka-go"
CLIENT_LANGUAGE=Go
CLIENT_VERSION=$(go_version github.com/segmentio/kafka-go)

client_install() { go_install; }
client_run() { go_run "$@"; }
