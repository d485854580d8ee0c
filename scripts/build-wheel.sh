#!/usr/bin/env bash
# Builds the wheel of the Python package for this machine into target/wheels: one for every Python from 3.10 on.
#
#   scripts/build-wheel.sh      after scripts/test-python.sh, whose environment has maturin
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch.sh

environments=(.downloads/python-3.*/bin/maturin)
maturin=${environments[0]}
[ -x "$maturin" ] || fail "maturin is missing: run scripts/test-python.sh first"
rm -rf target/wheels
"$maturin" build --quiet --locked --manifest-path python/Cargo.toml --out target/wheels
wheel=$(echo target/wheels/frosthead-*.whl)
size=$(stat -c %s "$wheel")
most=$((14 << 20))
printf '%s: %s bytes\n' "$wheel" "$size"
[ "$size" -le "$most" ] || fail "$wheel is larger than $most bytes"
