# Installs the packages of the Node clients; sourced by their client.sh.
# shellcheck shell=bash

# node_version PACKAGE: the version that is pinned in package.json.
node_version() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["dependencies"][sys.argv[2]])' "$CLIENT_HOME/package.json" "$1"
}

# node_home: where the packages of this client are.
node_home() { echo "$TOOLS/clients/$(basename "$CLIENT_HOME")"; }
node_installed() { cmp -s "$CLIENT_HOME/package-lock.json" "$(node_home)/installed"; }

# node_install [NAME=VALUE...]: what package-lock.json names. What has to be compiled finds Node's headers
# where Node is installed, because there may be no way to download them.
node_install() {
  local home headers
  home=$(node_home)
  node_installed && return 0
  need node nodejs
  need npm npm
  headers=$(dirname "$(dirname "$(realpath "$(command -v node)")")")
  [ -f "$headers/include/node/node.h" ] || with_lock debian_packages libnode-dev
  rm -rf "$home"
  mkdir -p "$home"
  cp "$CLIENT_HOME"/package.json "$CLIENT_HOME"/package-lock.json "$home/"
  (cd "$home" && env "$@" npm ci --no-audit --no-fund --loglevel=error --nodedir="$headers") >&2 &&
    cp "$CLIENT_HOME/package-lock.json" "$home/installed"
}

node_run() { NODE_PATH=$(node_home)/node_modules exec node "$CLIENT_HOME/main.js" "$@"; }
