# Apache Kafka's own Java client of 2018, for the old versions of most requests: JoinGroup without ids given by the
# broker, AlterConfigs, no field of variable length. See scripts/client for what these mean.
# shellcheck shell=bash disable=SC2034
CLIENT_NAME="kafka-clients 2.x"
CLIENT_LANGUAGE="Java"
CLIENT_VERSION=2.0.1
# shellcheck source=scripts/clients/java/install.sh
. "$SCRIPTS/clients/java/install.sh"

client_install() { java_install "$TOOLS/clients/java-2" "$SCRIPTS/clients/java-2/Age.java"; }
client_run() { java_run "$TOOLS/clients/java-2" "$@"; }
