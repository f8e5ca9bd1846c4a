#!/bin/sh
# Everything that must hold for each change: unit tests, the build, the scenarios, random questions.
set -eu
cd "$(dirname "$0")"
tce=${TCE:-tce}
@UNIT_TESTS@
./build.sh
"$tce" policy check @NAME@.wasm@LIMITS@
"$tce" policy test @NAME@.wasm scenarios@LIMITS@ --junit junit.xml
"$tce" policy fuzz @NAME@.wasm --seed 1 --runs 500@LIMITS@
