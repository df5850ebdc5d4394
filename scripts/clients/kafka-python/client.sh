# shellcheck shell=bash disable=SC2034
CLIENT_NAME=kafka-python
CLIENT_LANGUAGE=Python
CLIENT_VERSION=3.0.12

# The client leaves three of the codecs to other packages.
client_install() { need_venv clients/kafka-python "kafka-python==$CLIENT_VERSION" lz4==4.4.5 python-snappy==0.7.3 zstandard==0.25.0; }
client_run() { PYTHONPATH=$SCRIPTS/py exec "$TOOLS/clients/kafka-python/bin/python" "$CLIENT_HOME/client.py" "$@"; }
