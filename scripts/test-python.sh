#!/usr/bin/env bash
# Builds the wheel of the Python package, installs it into an environment of its own, and tests it there.
#
#   scripts/test-python.sh [WHEEL]      a wheel that is there already is tested as it is
#
# After scripts/test.sh or on its own: it fetches what it needs. PYTHON says which Python (3.11 or newer).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_model
setup_demo_data
setup_maturin

python=${PYTHON:-python3}
venv=$downloads/python-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! cmp -s scripts/requirements-python.txt "$venv/requirements.txt"; then
  echo "setup: Python environment for the package" >&2
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r scripts/requirements-python.txt
  cp scripts/requirements-python.txt "$venv/requirements.txt"
fi
export PATH=$PWD/$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1

wheel=${1:-}
if [ -z "$wheel" ]; then
  cargo clippy --quiet --locked --package frosthead-python -- -D warnings
  wheels=target/tmp/wheels
  rm -rf $wheels
  # Both at once: one library. It is faster to build than what scripts/build-wheel.sh ships, and gives the same numbers.
  cargo build --quiet --locked --package frosthead --package frosthead-python
  "$downloads/maturin/maturin" build --quiet --profile dev --locked --manifest-path python/Cargo.toml --out $wheels
  wheel=$(echo $wheels/frosthead-*.whl)
fi
pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
export FROSTHEAD_PROGRAM=${FROSTHEAD_PROGRAM:-$PWD/target/debug/frosthead}

# The package as it is installed, not the folder of its sources.
checks=$PWD/python
(
  cd /
  mypy --config-file "$checks/pyproject.toml" --cache-dir "$checks/../target/mypy" --package frosthead
  mypy --config-file "$checks/pyproject.toml" --cache-dir "$checks/../target/mypy" "$checks/tests/typed.py"
  stubtest --mypy-config-file "$checks/pyproject.toml" frosthead._frosthead
)
pytest -p no:cacheprovider -c python/pyproject.toml --rootdir python --ignore python/tests/spark --ignore python/tests/ray python/tests
