#!/usr/bin/env bash
# Tests frosthead.spark on a real PySpark with several executors (local-cluster), one of which is killed.
#
#   scripts/test-spark.sh       after scripts/test-python.sh, whose environment and wheel it uses; needs Java 17 or newer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch.sh

if ! command -v java >/dev/null; then
  echo "setup: Java" >&2
  { apt-get update && apt-get install --yes --no-install-recommends default-jre-headless; } >&2 ||
    fail "java is missing, and apt-get could not install default-jre-headless: install Java 17 or newer"
fi
use_python_package
if ! cmp -s scripts/requirements-spark.txt "$venv/requirements-spark.txt"; then
  echo "setup: PySpark" >&2
  pip() { "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes "$@"; }
  grep -v '^pyspark' scripts/requirements-spark.txt >"$venv/tools.txt"
  pip --only-binary=:all: -r "$venv/tools.txt"
  grep '^pyspark' scripts/requirements-spark.txt >"$venv/pyspark.txt"
  pip --no-build-isolation -r "$venv/pyspark.txt"
  cp scripts/requirements-spark.txt "$venv/requirements-spark.txt"
fi
checks=$PWD/python
(cd / && mypy --config-file "$checks/pyproject.toml" --cache-dir "$checks/../target/mypy" --module frosthead.spark)
pytest -p no:cacheprovider -c python/pyproject.toml --rootdir python python/tests/spark "$@"
