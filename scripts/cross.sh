#!/usr/bin/env bash
# Builds the program for a processor, whatever this machine's is, so that it runs where ONNX Runtime's library
# does: on Linux with glibc 2.28 (Debian 10) or newer. It links with Zig, which carries the C libraries of all
# versions; Zig and cargo-zigbuild come from PyPI, and Rust's library for the processor from rustup, or where it
# has none from Debian. The last line on standard output is the program's path.
# usage: cross.sh aarch64|x86_64 [full|edge] [PROFILE]
#   full, edge   the whole program (the default), or the one that only evaluates, predicts and inspects
#                (--no-default-features)
#   PROFILE      the Cargo profile: dist (the default: smallest, minutes longer), release, or dev

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

glibc=2.28
usage="usage: cross.sh aarch64|x86_64 [full|edge] [dist|release|dev]"
processor=${1:-} edition=${2:-full} profile=${3:-dist}
[ $# -le 3 ] || fail "${*:4} is too much; $usage"
case $processor in aarch64 | x86_64) ;; *) fail "found processor \"$processor\"; $usage" ;; esac
case $edition in full | edge) ;; *) fail "found edition \"$edition\"; $usage" ;; esac
case $profile in dist | release | dev) ;; *) fail "found profile \"$profile\"; $usage" ;; esac
target=$processor-unknown-linux-gnu
command -v readelf >/dev/null || fail "readelf is missing: install Debian's binutils"

setup_zig
use_zig "$processor"
options=()
[ "$edition" = full ] || options+=(--no-default-features)
"${rust[@]}" "$downloads/zig/cargo-zigbuild" zigbuild --quiet --locked --profile "$profile" --bin frosthead \
  --target "$target.$glibc" "${options[@]}" >&2

# A name of its own: the next edition is built over this one.
program=target/cross/frosthead-$processor-$edition
mkdir -p target/cross
folder=$profile
[ "$profile" != dev ] || folder=debug
cp "${CARGO_TARGET_DIR:-target}/$target/$folder/frosthead" "$program"
wanted=$(readelf --version-info --wide "$program" | grep -oE 'Name: GLIBC_[0-9.]+' | cut -d_ -f2 |
  sort -uV | tail -n 1)
[ "$(printf '%s\n' "$wanted" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] ||
  fail "$program needs glibc $wanted, expected at most $glibc"
printf '%s\n' "$program"
