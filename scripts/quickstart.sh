#!/usr/bin/env bash
# From nothing to two trained heads: fetch, build, import, embed, train, evaluate, predict.
# usage: quickstart.sh [--backbone DIR]     DIR: a local copy of all-MiniLM-L6-v2, instead of downloading it

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

checkpoint=$downloads/all-MiniLM-L6-v2
case "${1:-}" in
  '') setup_model ;;
  --backbone)
    checkpoint=${2:?"--backbone needs a directory"}
    check_sha256 "$checkpoint/model.safetensors" "$weights_sha256"
    ;;
  *) fail "unknown argument $1; usage: quickstart.sh [--backbone DIR]" ;;
esac
setup_demo_data
# The environment may name a built program (FROSTHEAD).
program=${FROSTHEAD:-target/release/frosthead}
[ -n "${FROSTHEAD:-}" ] || cargo build --release --quiet

run() {
  printf '\n$ frosthead %s\n' "$*"
  "$program" "$@"
}

run import "$checkpoint" --out models/all-MiniLM-L6-v2
run embed data/demo.csv --backbone models/all-MiniLM-L6-v2 --out data/demo.features.parquet
run train data/demo.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --out runs/quickstart
printf '\n$ frosthead predict - --model runs/quickstart     (three sentences on standard input)\n'
printf '%s\n' 'Great phone, the battery lasts two days and I would buy it again!' \
  'The plot drags and the jokes fall flat.' \
  'The committee will vote on the budget on Tuesday.' |
  "$program" predict - --model runs/quickstart
run eval data/demo.csv --model runs/quickstart --rows test
printf '\nThe run lies in runs/quickstart; `target/release/frosthead inspect runs/quickstart` says what is in it.\n'
