#!/bin/sh
# Builds @NAME@.wasm. Needs cargo with the target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`),
# and `tce`: in PATH, or where TCE says.
set -eu
cd "$(dirname "$0")"
cargo build --release --lib --target wasm32-unknown-unknown
"${TCE:-tce}" policy component \
    "${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/release/@MODULE@.wasm" -o @NAME@.wasm
