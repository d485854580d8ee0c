#!/usr/bin/env bash
# Runs the package for arm64 under emulation (qemu-user) as Cortex-A53, A72, A76 and as all that the emulator
# knows, in a root folder of the oldest Debian that can be had, with bundles made on x86-64; the package for
# amd64 runs in such a folder, too (scripts/aarch64_test.py). Builds what it needs. After scripts/test.sh,
# which fetches the rest.
#
#   scripts/test-aarch64.sh [full|edge] [PROFILE]      as in cross.sh: by default what is released
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/debian.sh

edition=${1:-full} profile=${2:-dist}
folder=target/tmp/aarch64
mkdir -p "$folder"

# unpacked ARCHITECTURE OPTIONS…: the oldest Debian's root folder with the package in it.
unpacked() {
  local root=$folder/root-$1 package
  setup_root "$1"
  package=$(./scripts/build-deb.sh "$profile" --arch "$@" | tail -n 1)
  rm -rf "$root"
  cp -a "$downloads/root-$1" "$root"
  dpkg-deb --extract "$package" "$root"
  mkdir -p "$root"/{proc,sys,dev,test}
  ls -l "$package"
}

unpacked amd64
options=()
[ "$edition" = full ] || options+=(--edge)
unpacked arm64 "${options[@]}"
setup_emulator
cp "$downloads/qemu/usr/bin/qemu-aarch64" "$folder/root-arm64/"
./scripts/make-aarch64-bundles.sh target/cross/frosthead-x86_64-full "$folder"
python3 -B scripts/aarch64_test.py "$folder" "$edition"
