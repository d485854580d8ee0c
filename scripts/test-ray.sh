#!/usr/bin/env bash
# Tests the example of docs/spark.md for Ray on a real Ray with two workers.
#
#   scripts/test-ray.sh       after scripts/test-python.sh, whose environment and wheel it uses; Python 3.11 on x86-64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch.sh

use_python_package
if ! cmp -s scripts/requirements-ray.txt "$venv/requirements-ray.txt"; then
  echo "setup: Ray" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    -r scripts/requirements-ray.txt
  cp scripts/requirements-ray.txt "$venv/requirements-ray.txt"
fi
export RAY_USAGE_STATS_ENABLED=0
pytest -p no:cacheprovider -c python/pyproject.toml --rootdir python python/tests/ray "$@"
