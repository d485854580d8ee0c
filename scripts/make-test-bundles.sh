#!/usr/bin/env bash
# Two bundles for test-page.sh and test-deb.sh, from every eighth row of the demo data: FOLDER/one.frost knows both tasks,
# FOLDER/other.frost domain only. The second time nothing is computed.
# usage: make-test-bundles.sh FROSTHEAD FOLDER      after scripts/test.sh, which fetches what it needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

frosthead=$1
folder=$2
mkdir -p "$folder"
python3 -c '
import csv, sys
with open("data/demo.csv", newline="", encoding="utf-8") as source, open(sys.argv[1], "w", newline="", encoding="utf-8") as target:
    rows = list(csv.reader(source))
    csv.writer(target).writerows(rows[:1] + rows[1::8])' "$folder/part.csv"
"$frosthead" --quiet import .downloads/all-MiniLM-L6-v2 --out "$folder/backbone"
# bundle NAME TASKS…
bundle() {
  "$frosthead" --quiet train "$folder/part.csv" --backbone "$folder/backbone" --cache "$folder/cache" --store-layers last \
    --out "$folder/$1" "${@:2}" >/dev/null
  "$frosthead" --quiet bundle "$folder/$1" --out "$folder/$1.frost"
}
bundle one --task domain --task sentiment
bundle other --task domain
