#!/bin/sh
# Builds @NAME@.wasm. Needs `tce`, in PATH or where TCE says, and a C compiler for WebAssembly: Zig in PATH, or the one
# that tools.sh gets, or wasi-sdk, whose folder WASI_SDK_PATH names.
set -eu
cd "$(dirname "$0")"
tce=${TCE:-tce}
stop() {
    echo "build.sh: $1" >&2
    exit 1
}
command -v "$tce" > /dev/null || stop "there is no $tce: put it into PATH, or say TCE=/where/it/is/tce"

compile() {
    if [ -n "${WASI_SDK_PATH:-}" ]; then
        "$WASI_SDK_PATH/bin/clang" --target=wasm32-wasip1 "$@"
    elif command -v zig > /dev/null; then
        zig cc --target=wasm32-wasi "$@"
    elif [ -x .venv/bin/python ]; then
        .venv/bin/python -m ziglang cc --target=wasm32-wasi "$@"
    else
        stop "there is no C compiler for WebAssembly: run ./tools.sh, which gets Zig, or install Zig or wasi-sdk"
    fi
}

"$tce" policy bindings wit --world project -o build/bindings
# A library, with a stack that leaves room in the memory that a policy may have. Of the C library use only what needs
# nothing of a system: no files, no clock, no printf.
compile -mexec-model=reactor -std=c11 -Os -Wall -Wextra -Werror -Wl,--strip-all -Wl,-z,stack-size=262144 \
    -I build/bindings policy.c build/bindings/project.c build/bindings/project_component_type.o -o build/module.wasm
"$tce" policy component build/module.wasm -o @NAME@.wasm
