#!/usr/bin/env bash
# Several tags, one label with a promise, a number; thresholds, and texts out of scope. README.md beside it explains.
# usage: run.sh      writes data/tags/ and runs/tags/

source "$(dirname "${BASH_SOURCE[0]}")/../example.sh"

out=runs/tags
# From the same package as the demo data, pinned in scripts/setup.sh.
if [ ! -f data/tags/out-of-scope.csv ]; then
  work=$(mktemp -d "$downloads/tmp.XXXXXX")
  package=$(fetch "$work/sdist" "$demo_sha256" --no-binary vaderSentiment "vaderSentiment==$demo_version")
  python3 -B examples/tags/make-tables.py "$package" data/tags
  rm -rf "$work"
fi
rm -rf "$out"
mkdir -p "$out"

printf '\n$ head -3 data/tags/labelled.csv\n'
head -3 data/tags/labelled.csv
run train data/tags/labelled.csv --backbone models/all-MiniLM-L6-v2 --task source --any-of tags --number rating \
  --features auto --out "$out/run"
run eval data/tags/labelled.csv --model "$out/run" --rows test --task source --coverage \
  --out-of-scope data/tags/out-of-scope.csv
run train data/tags/labelled.csv --backbone models/all-MiniLM-L6-v2 --task source --any-of tags --precision-at 0.9 \
  --features auto --out "$out/sure"
run bundle "$out/run" --out "$out/tags.frost"

run predict examples/tags/texts.txt --model "$out/tags.frost"
run predict examples/tags/texts.txt --model "$out/tags.frost" --abstain-below 0.74
