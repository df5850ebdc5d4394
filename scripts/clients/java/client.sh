# Apache Kafka's own Java client, as it is now. See scripts/client for what these mean.
# shellcheck shell=bash disable=SC2034
CLIENT_NAME="kafka-clients"
CLIENT_LANGUAGE="Java"
CLIENT_VERSION=$KAFKA_VERSION
# shellcheck source=scripts/clients/java/install.sh
. "$SCRIPTS/clients/java/install.sh"

client_install() { java_install "$TOOLS/clients/java" "$SCRIPTS/clients/java/Age.java"; }
client_run() { java_run "$TOOLS/clients/java" "$@"; }
