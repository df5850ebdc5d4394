# shellcheck shell=bash disable=SC2034
CLIENT_NAME=confluent-kafka
CLIENT_LANGUAGE=Python
CLIENT_VERSION=$CONFLUENT_KAFKA_VERSION

client_install() { need_python; }
client_run() { PYTHONPATH=$SCRIPTS/py exec "$PYTHON" "$CLIENT_HOME/client.py" "$@"; }
