#!/usr/bin/env bash
# Sets up what is missing and runs everything that must pass.
#
#   scripts/test.sh [--workspace]      with the Python package's crate: test-python.sh then finds its parts built

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
case $* in '' | --workspace) ;; *) fail "found \"$*\"; usage: test.sh [--workspace]" ;; esac
setup_model
setup_tokenizers
setup_demo_data

# A private Python environment with what the Parquet test reads with, pinned by hash.
setup_python() {
  local stamp=$downloads/venv/requirements-test.txt
  cmp -s scripts/requirements-test.txt "$stamp" && return
  echo "setup: Python environment for tests" >&2
  rm -rf "$downloads/venv"
  python3 -m venv "$downloads/venv"
  "$downloads/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r scripts/requirements-test.txt
  cp scripts/requirements-test.txt "$stamp"
}
setup_python

step() {
  local start=$SECONDS
  printf '\n== %s\n' "$*"
  "$@"
  printf '== %s s\n' "$((SECONDS - start))"
}

step cargo fmt --all --check
step cargo clippy --quiet "$@" --all-targets --features fault-injection -- -D warnings
step cargo clippy --quiet --all-targets --no-default-features -- -D warnings
RUSTDOCFLAGS='-D warnings' step cargo doc --quiet "$@" --no-deps
step python3 -B scripts/bench/test_report.py
step python3 -B scripts/test_docs_test.py
step cargo test "$@" --features fault-injection
printf '\nall passed\n'
