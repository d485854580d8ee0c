#!/usr/bin/env bash
# Runs the package for arm64 under emulation (qemu-user) as Cortex-A53, A72, A76 and as all that the emulator
# knows, in a root folder of the oldest Debian that can be had; the package for amd64 runs in such a folder, too,
# and the bundles are made by this machine's own program (scripts/aarch64_test.py).
#
#   scripts/test-aarch64.sh [full|edge] [PROFILE]      as in cross.sh: by default what is released
#   scripts/test-aarch64.sh wheel                      the wheel that build-wheel.sh made, with Debian 12's Python
#
# After `cargo build --release` and scripts/test.sh, which fetches what this needs besides.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/debian.sh

edition=${1:-full} profile=${2:-dist}
folder=target/tmp/aarch64
mkdir -p "$folder"
[ -x target/release/frosthead ] || fail "there is no target/release/frosthead: run cargo build --release first"
setup_emulator
./scripts/make-aarch64-bundles.sh target/release/frosthead "$folder"

# The root folder's Python with the wheel, and what it depends on from PyPI.
if [ "$edition" = wheel ]; then
  wheel=$(echo target/wheels/frosthead-*_aarch64.whl) root=$folder/root-python
  [ -f "$wheel" ] || fail "there is no $wheel: run scripts/build-wheel.sh aarch64 first"
  setup_root_with_python
  rm -rf "$root"
  cp -a "$downloads/root-python" "$root"
  mkdir -p "$root"/{proc,sys,dev,test}
  awk '/^[a-z]/ { wanted = /^(numpy|onnxruntime)==/ } wanted' scripts/requirements-python.txt >"$folder/wheels.txt"
  install() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --no-deps \
      --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 \
      --target "$root/usr/lib/python3/dist-packages" "$@"
  }
  install --require-hashes -r "$folder/wheels.txt"
  install "$wheel"
  cp "$downloads/qemu/usr/bin/qemu-aarch64" "$root/"
  python3 -B scripts/aarch64_test.py "$folder" wheel
  exit
fi

options=()
[ "$edition" = full ] || options+=(--edge)
for architecture in amd64 arm64; do
  root=$folder/root-$architecture
  setup_root "$architecture"
  package=$(./scripts/build-deb.sh "$profile" --arch "$architecture" "${options[@]}" | tail -n 1)
  ls -l "$package"
  rm -rf "$root"
  cp -a "$downloads/root-$architecture" "$root"
  dpkg-deb --extract "$package" "$root"
  mkdir -p "$root"/{proc,sys,dev,test}
done
cp "$downloads/qemu/usr/bin/qemu-aarch64" "$folder/root-arm64/"
python3 -B scripts/aarch64_test.py "$folder" "$edition"
