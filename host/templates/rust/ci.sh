#!/bin/sh
# Everything that must hold for each change: unit tests, the build, the scenarios, random questions.
set -eu
cd "$(dirname "$0")"
tce=${TCE:-tce}
cargo test
./build.sh
"$tce" policy check @NAME@.wasm
"$tce" policy test @NAME@.wasm scenarios --junit junit.xml
"$tce" policy fuzz @NAME@.wasm --seed 1 --runs 500
