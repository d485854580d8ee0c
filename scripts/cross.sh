#!/usr/bin/env bash
# Builds the program for a processor, whatever this machine's is, so that it runs where ONNX Runtime's library
# does: on Linux with glibc 2.28 (Debian 10) or newer. It links with Zig, which carries the C libraries of all
# versions; Zig and cargo-zigbuild come from PyPI and Rust's library for the processor from rustup. The last
# line on standard output is the program's path.
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
setup_target "$target"

# The same bytes from whatever folder: the paths of this machine are not in the program.
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
export RUSTFLAGS="--remap-path-prefix=$PWD=frosthead --remap-path-prefix=$cargo_home=cargo"
export CFLAGS="-ffile-prefix-map=$cargo_home=cargo"
zig_folder=$(realpath "$downloads/zig")
export CARGO_ZIGBUILD_ZIG_PATH=$zig_folder/ziglang/zig
export CARGO_ZIGBUILD_CACHE_DIR=$zig_folder/cache ZIG_GLOBAL_CACHE_DIR=$zig_folder/cache
options=()
[ "$edition" = full ] || options+=(--no-default-features)
"$zig_folder/cargo-zigbuild" zigbuild --quiet --locked --profile "$profile" --bin frosthead \
  --target "$target.$glibc" "${options[@]}" >&2

# A name of its own: the next edition is built over this one.
program=target/cross/frosthead-$processor-$edition
mkdir -p target/cross
folder=$profile
[ "$profile" != dev ] || folder=debug
cp "target/$target/$folder/frosthead" "$program"
wanted=$(readelf --version-info --wide "$program" | grep -oE 'Name: GLIBC_[0-9.]+' | cut -d_ -f2 |
  sort -uV | tail -n 1)
[ "$(printf '%s\n' "$wanted" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] ||
  fail "$program needs glibc $wanted, expected at most $glibc"
printf '%s\n' "$program"
