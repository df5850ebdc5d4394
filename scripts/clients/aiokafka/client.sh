# shellcheck shell=bash disable=SC2034
CLIENT_NAME=aiokafka
CLIENT_LANGUAGE=Python
CLIENT_VERSION=0.14.0

# The client leaves three of the codecs to another package.
client_install() { need_venv clients/aiokafka "aiokafka==$CLIENT_VERSION" cramjam==2.14.0; }
client_run() { PYTHONPATH=$SCRIPTS/py exec "$TOOLS/clients/aiokafka/bin/python" "$CLIENT_HOME/client.py" "$@"; }
