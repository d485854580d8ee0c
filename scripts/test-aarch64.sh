#!/usr/bin/env bash
# Runs the program for aarch64 under emulation (qemu-user) as Cortex-A53, A72, A76 and as all that the emulator knows, on the C library of
# the oldest Debian that can be had, with bundles that were made on x86-64 (scripts/aarch64_test.py). Builds what is missing.
# After scripts/test.sh, which fetches what it needs.
#
#   scripts/test-aarch64.sh [full|edge] [PROFILE]      as in cross.sh: by default what is released
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/debian.sh

edition=${1:-full} profile=${2:-dist}
setup_emulator
setup_root amd64
setup_root arm64
setup_runtime aarch64
program=$(./scripts/cross.sh aarch64 "$edition" "$profile")
here=$(./scripts/cross.sh x86_64 full "$profile")
./scripts/make-aarch64-bundles.sh "$here" target/tmp/aarch64
python3 -B scripts/aarch64_test.py target/tmp/aarch64 "$edition" "$program" "$here" "$downloads"
