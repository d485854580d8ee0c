#!/usr/bin/env bash
# Fuzzes every parser of bytes that somebody else made, with libFuzzer: bundle, update, safetensors, store, tokenizer, config, onnx,
# csv, json, parquet, http. What is run are the functions of tests/integration/fuzz/targets.rs, which `cargo test` runs too,
# for seconds; checksums are made right again after every change (repair.rs), so that what lies behind them is reached.
#
#   scripts/fuzz.sh [TARGET…]           all of them by default
#
# The environment may name:
#   RUNS      inputs for each target           (default: 1,000,000)
#   SECONDS_EACH  a target ends after so long  (default: 3,600)
#   TIMEOUT       seconds that an input may take, by the clock: more on a busy machine (default: 2)
#
# Found is: a panic, also one of a failed check of the target; an input that takes too long; one that takes more than
# 512 MB, or a process of more. Overflows and debug assertions are checked; AddressSanitizer is left out, because its own
# memory would hide the limit, and 99 of 100 lines are safe Rust. What was found lies in fuzz/artifacts/TARGET, what was
# learned in fuzz/corpus/TARGET; both are kept for the next time. Exit status 0: nothing was found; 1: something; 2: it
# cannot be run here (the message says what is missing). Not part of CI.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing() {
  printf 'fuzz: cannot be run here: %s\n' "$1" >&2
  exit 2
}
cargo +nightly --version >/dev/null 2>&1 || missing 'there is no nightly toolchain (rustup toolchain install nightly)'
cargo fuzz --version >/dev/null 2>&1 || missing 'there is no cargo-fuzz (cargo install cargo-fuzz --locked)'
compgen -G '.downloads/onnxruntime/libonnxruntime.so.*' >/dev/null || missing 'there is no .downloads (scripts/test.sh makes it)'

targets=(bundle update safetensors store tokenizer config onnx csv json parquet http)
[ $# -gt 0 ] || set -- "${targets[@]}"
chosen=("$@")
for target in "${chosen[@]}"; do
  [ -f "fuzz/fuzz_targets/$target.rs" ] || missing "there is no target $target"
done

# Files are written and read a million times: in memory, where there is a folder for it.
scratch=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" frosthead-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

seeds=$PWD/fuzz/seeds
rm -rf "$seeds"
FROSTHEAD_FUZZ_SEEDS=$seeds cargo test --quiet --features fault-injection --test integration -- --exact fuzz::seeds_for_fuzzing >/dev/null
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
found=0
for target in "${chosen[@]}"; do
  cargo +nightly fuzz build -s none "$target"
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  printf '\n== %s\n' "$target"
  # Beyond the seeds' sizes nothing new is found, only slowly.
  FROSTHEAD_FUZZ_BUNDLE=$seeds/tiny.frost TMPDIR=$scratch "fuzz/target/$host/release/$target" \
    "fuzz/corpus/$target" "$seeds/$target" -artifact_prefix="fuzz/artifacts/$target/" \
    -runs="${RUNS:-1000000}" -max_total_time="${SECONDS_EACH:-3600}" \
    -timeout="${TIMEOUT:-2}" -rss_limit_mb=512 -max_len=131072 -print_final_stats=1 -verbosity=1 2>"$scratch/said" || found=1
  grep -E '^(Done|stat::|SUMMARY|==[0-9]+== ERROR|thread .* panicked)|DONE|an input took' "$scratch/said" || tail -n 20 "$scratch/said"
done
exit $found
