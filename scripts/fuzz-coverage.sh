#!/usr/bin/env bash
# Which lines of the parsers the fuzzers reach, target by target: runs what fuzz.sh has learned (fuzz/corpus) and
# the seeds once more through instrumented builds, and prints a Markdown table of the lines of the files that read
# such bytes, also of what lies behind checksums and validation. Needs what fuzz.sh needs, and llvm-tools of the
# nightly toolchain.
#
#   scripts/fuzz-coverage.sh [TARGET…]      all of them by default; FILES=1 prints every file
#
# The environment may name SECONDS_EACH: a target without a corpus is fuzzed for so long before (default: 60).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing() {
  printf 'fuzz-coverage: cannot be run here: %s\n' "$1" >&2
  exit 2
}
cargo +nightly --version >/dev/null 2>&1 || missing 'there is no nightly toolchain (rustup toolchain install nightly)'
cargo fuzz --version >/dev/null 2>&1 || missing 'there is no cargo-fuzz (cargo install cargo-fuzz --locked)'
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
tools=$(rustc +nightly --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-cov" ] || missing 'there is no llvm-cov (rustup component add llvm-tools --toolchain nightly)'

# What reads the bytes of a target, as far as it is ours.
declare -A parsers=(
  [bundle]='src/bundle/(archive|contents|entries|heads|layout|mod|network|signature|tokenizer|validation|words)\.rs src/document\.rs src/tokens/compact\.rs'
  [update]='src/bundle/update\.rs'
  [safetensors]='src/tensors\.rs src/encoder/(header|checkpoint|shards|weights)\.rs src/heads/file\.rs'
  [store]='src/store/(fault|folder|index|key_file|open|part|reading|states)\.rs'
  [tokenizer]='src/tokens/(added|check|compact|diagnosis|pair_template|tokenizer)\.rs src/tokens/vocabulary/[a-z_]*\.rs'
  [config]='src/encoder/(architecture|config|family|fields|forms|modules)\.rs src/encoder/family/[a-z_]*\.rs src/backbone/(sentence_transformers|manifest)\.rs'
  [onnx]='src/encoder/foreign\.rs src/encoder/foreign/[a-z_]*\.rs src/graph/(mod|external|messages|weights)\.rs'
  [csv]='src/data/(delimited|encoding|guard|header|lines|reading|table)\.rs'
  [json]='src/data/(json|json_object|guard|table)\.rs'
  [parquet]='src/data/(arrow_cell|features|feature_table|guard|parquet_table)\.rs'
  [http]='src/serve/(admission|http|keys|reply|routes)\.rs src/serve/api/[a-z_]*\.rs'
)
targets=(bundle update safetensors store tokenizer config onnx csv json parquet http)
[ $# -gt 0 ] || set -- "${targets[@]}"

scratch=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" frosthead-coverage.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
seeds=$PWD/fuzz/seeds
if [ ! -d "$seeds" ]; then
  FROSTHEAD_FUZZ_SEEDS=$seeds cargo test --quiet --features fault-injection --test integration -- --exact fuzz::seeds_for_fuzzing >/dev/null
fi

export FROSTHEAD_FUZZ_BUNDLE=$seeds/tiny.frost TMPDIR=$scratch
printf '| target | inputs | lines | reached | share |\n|---|---|---|---|---|\n'
for target in "$@"; do
  [ -n "${parsers[$target]:-}" ] || missing "there is no target $target"
  mkdir -p "fuzz/corpus/$target"
  # What cargo-fuzz builds for coverage is the target itself: it can learn, too.
  cargo +nightly fuzz coverage -s none "$target" "$seeds/$target" -- -runs=0 >"$scratch/build" 2>&1 || { cat "$scratch/build" >&2; exit 1; }
  binary=target/$host/coverage/$host/release/$target
  [ -x "$binary" ] || binary=fuzz/$binary
  if [ -z "$(ls -A "fuzz/corpus/$target")" ]; then
    LLVM_PROFILE_FILE=/dev/null "$binary" "fuzz/corpus/$target" "$seeds/$target" -max_total_time="${SECONDS_EACH:-60}" \
      -rss_limit_mb=2048 -max_len=131072 >/dev/null 2>&1 || { echo "fuzz-coverage: $target: a finding; run fuzz.sh" >&2; exit 1; }
  fi
  LLVM_PROFILE_FILE=$scratch/$target.profraw "$binary" "fuzz/corpus/$target" "$seeds/$target" -runs=0 -rss_limit_mb=4096 >/dev/null 2>&1
  "$tools/llvm-profdata" merge -sparse "$scratch/$target.profraw" -o "$scratch/$target.profdata"
  inputs=$(find "fuzz/corpus/$target" "$seeds/$target" -type f | wc -l)
  "$tools/llvm-cov" export -summary-only -instr-profile="$scratch/$target.profdata" "$binary" >"$scratch/$target.json"
  python3 - "$scratch/$target.json" "$target" "$inputs" "${FILES:-}" ${parsers[$target]} <<'PY'
import json, re, sys

path, target, inputs, every, *patterns = sys.argv[1:]
rows = []
for file in json.load(open(path, encoding="utf-8"))["data"][0]["files"]:
    name = file["filename"]
    if any(re.search("(^|/)" + pattern + "$", name) for pattern in patterns):
        lines = file["summary"]["lines"]
        rows.append((name[name.index("src/"):], lines["count"], lines["covered"]))
count, covered = sum(row[1] for row in rows), sum(row[2] for row in rows)
print(f"| {target} | {inputs} | {count} | {covered} | {100 * covered / max(count, 1):.0f} % |", flush=True)
for name, lines, reached in rows if every else []:
    print(f"| – `{name}` | | {lines} | {reached} | {100 * reached / max(lines, 1):.0f} % |", flush=True)
PY
done
