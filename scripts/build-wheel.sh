#!/usr/bin/env bash
# Builds the wheels of the Python package into target/wheels: one for each processor, for every Python from 3.10 on.
#
#   scripts/build-wheel.sh [MACHINE…]      x86_64 and aarch64 by default; the other one is cross-compiled by Zig
#
# After scripts/test-python.sh, whose environment has maturin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch.sh

maturin=$(echo .downloads/python-*/bin/maturin | cut -d' ' -f1)
[ -x "$maturin" ] || fail "maturin is missing: run scripts/test-python.sh first"
[ $# -gt 0 ] || set -- x86_64 aarch64
for machine in "$@"; do
  options=()
  if [ "$machine" != "$(uname -m)" ]; then
    zig=.downloads/ziglang
    if [ ! -x "$zig/bin/python" ]; then
      python3 -m venv "$zig"
      "$zig/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r scripts/requirements-zig.txt
    fi
    export PATH=$PWD/$zig/bin:$PATH
    options=(--zig)
    rustup target add "$machine-unknown-linux-gnu"
  fi
  CARGO_TARGET_DIR=target "$maturin" build --quiet --locked --manifest-path python/Cargo.toml --out target/wheels \
    --target "$machine-unknown-linux-gnu" --compatibility manylinux_2_28 "${options[@]}"
done
# What the package index takes, and what nobody waits for.
most=$((14 << 20))
for wheel in target/wheels/*.whl; do
  size=$(stat -c %s "$wheel")
  printf '%s: %s bytes\n' "$wheel" "$size"
  [ "$size" -le "$most" ] || fail "$wheel is larger than $most bytes"
done
