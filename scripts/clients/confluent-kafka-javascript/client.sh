# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/clients/node-shared/install.sh
. "$SCRIPTS/clients/node-shared/install.sh"
CLIENT_NAME="@confluentinc/kafka-javascript"
CLIENT_LANGUAGE=Node
CLIENT_VERSION=$(node_version "$CLIENT_NAME")

# The package downloads a binary, or else compiles the librdkafka that it brings. Linked dynamically, that
# takes the libraries it needs from the system instead of downloading their source.
client_install() {
  node_installed && return 0
  command -v pkg-config >/dev/null && pkg-config --exists libcurl libzstd openssl zlib ||
    with_lock debian_packages g++ make pkg-config libcurl4-openssl-dev libssl-dev libzstd-dev zlib1g-dev
  node_install CKJS_LINKING=dynamic &&
    rm -rf "$(node_home)/node_modules/$CLIENT_NAME"/{deps,build/Release/obj.target}
}
client_run() { node_run "$@"; }
