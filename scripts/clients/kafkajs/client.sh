# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/clients/node-shared/install.sh
. "$SCRIPTS/clients/node-shared/install.sh"
CLIENT_NAME=kafkajs
CLIENT_LANGUAGE=Node
CLIENT_VERSION=$(node_version kafkajs)

client_install() { node_install; }
client_run() { node_run "$@"; }
