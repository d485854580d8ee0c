#!/usr/bin/env bash
# Kills the real program with SIGKILL at seeded points of embed, train (heads, and layers), bundle, refit and compare on a
# tiny network, lets the same command run to its end, and compares every byte with an undisturbed run.
#
#   scripts/kill.sh [COUNT] [SEED]      default: 1,000 points, seed 20261128; 20 minutes on two cores
#
# Half of the points are a share of the time that the undisturbed command takes, half the n-th passage of a named place
# (src/files/fault.rs). What is not compared: report.html, and in JSON the fields that say what was spent (scripts/kill.py
# names them). Exit status 0: all alike; 1: one was not, and is kept; nothing is downloaded, .downloads must be there.
# FROSTHEAD names a program with the feature fault-injection; by default it is built. Not part of CI.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${FROSTHEAD:-}" ]; then
  cargo build --quiet --features fault-injection
  FROSTHEAD=${CARGO_TARGET_DIR:-target}/debug/frosthead
fi
exec python3 -B scripts/kill.py "$(realpath "$FROSTHEAD")" "${1:-1000}" "${2:-20261128}"
