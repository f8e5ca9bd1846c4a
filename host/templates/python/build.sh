#!/bin/sh
# Builds @NAME@.wasm. Needs componentize-py: in PATH, or the one that tools.sh gets.
set -eu
cd "$(dirname "$0")"
if command -v componentize-py > /dev/null; then
    componentize=componentize-py
elif [ -x .venv/bin/componentize-py ]; then
    componentize=.venv/bin/componentize-py
else
    echo "build.sh: there is no componentize-py: run ./tools.sh, or install it with pip" >&2
    exit 1
fi
# Without WASI: a policy has no files and no clock.
PYTHONDONTWRITEBYTECODE=1 "$componentize" -d wit -w project componentize --stub-wasi -p . policy -o @NAME@.wasm
