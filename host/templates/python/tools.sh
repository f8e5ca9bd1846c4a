#!/bin/sh
# Gets componentize-py, which puts a policy and an interpreter into a component, from the Python package index into
# .venv.
set -eu
cd "$(dirname "$0")"
command -v python3 > /dev/null || {
    echo "tools.sh: there is no python3: install it with its venv module" >&2
    exit 1
}
python3 -m venv .venv
.venv/bin/python -m pip install --quiet componentize-py==0.25.1
