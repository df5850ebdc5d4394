# Building the programs of the clients in Rust. Sourced by client.sh of each.
# shellcheck shell=bash

# rust_version CRATE: the one that the crate's lock file pins.
rust_version() { sed -n "/^name = \"$1\"\$/{n;s/^version = \"\\(.*\\)\"\$/\\1/p}" "$SCRIPTS/clients/rust/Cargo.lock"; }

# rust_install PROGRAM: cargo knows whether there is something to do.
rust_install() {
  command -v cargo >/dev/null || die "cargo is missing; install Rust"
  need cc build-essential
  need make build-essential
  cargo build --quiet --locked --manifest-path "$SCRIPTS/clients/rust/Cargo.toml" --target-dir "$TOOLS/clients/rust" --bin "$1" >&2
}
