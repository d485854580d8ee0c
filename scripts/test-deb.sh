#!/usr/bin/env bash
# Packs the debug program that scripts/test.sh has built, installs the package in a copy of this system that vanishes afterwards, and
# drives the service there under a real systemd (scripts/deb_test.py). Needs root on a Debian system.
#
#   scripts/test-deb.sh [FOLDER]      FOLDER: the bundles of make-test-bundles.sh, which are made when they are missing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-target/tmp/bundles}
package=$(./scripts/build-deb.sh dev --no-build)
./scripts/make-test-bundles.sh target/debug/frosthead "$folder"
python3 -B scripts/deb_test.py "$package" "$folder/one.frost" "$folder/other.frost"
