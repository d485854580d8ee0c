#!/usr/bin/env bash
# Builds the wheel of the Python package into target/wheels/: one for every Python from 3.10 on and for every
# Linux with glibc 2.28 or newer. It is linked as the programs of cross.sh are; the same commit gives the same
# bytes. The last line on standard output is its path.
# usage: build-wheel.sh [aarch64|x86_64] [PROFILE]
#   aarch64, x86_64   the processor: by default this machine's
#   PROFILE           the Cargo profile: dist (the default: smallest, minutes longer), release, or dev

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage="usage: build-wheel.sh [aarch64|x86_64] [dist|release|dev]"
processor=${1:-$(uname -m)} profile=${2:-dist}
[ $# -le 2 ] || fail "${*:3} is too much; $usage"
case $processor in aarch64 | x86_64) ;; *) fail "found processor \"$processor\"; $usage" ;; esac
case $profile in dist | release | dev) ;; *) fail "found profile \"$profile\"; $usage" ;; esac
setup_zig
setup_maturin
use_zig "$processor"

# A time that is written into the wheel.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -f target/wheels/frosthead-*_"$processor".whl
"${rust[@]}" "$downloads/maturin/maturin" build --quiet --locked --profile "$profile" --zig --compatibility manylinux_2_28 \
  --target "$processor-unknown-linux-gnu" --manifest-path python/Cargo.toml --out target/wheels >&2
wheel=$(echo target/wheels/frosthead-*_"$processor".whl)
size=$(stat -c %s "$wheel") most=14000000
[ "$profile" != dist ] || [ "$size" -le "$most" ] || fail "$wheel has $size bytes, expected at most $most"
printf '%s\n' "$wheel"
