#!/bin/sh
# Gets Zig, whose clang compiles C to WebAssembly, from the Python package index into .venv.
set -eu
cd "$(dirname "$0")"
command -v python3 > /dev/null || {
    echo "tools.sh: there is no python3: install it with its venv module, or install Zig itself" >&2
    exit 1
}
python3 -m venv .venv
.venv/bin/python -m pip install --quiet ziglang==0.17.1
