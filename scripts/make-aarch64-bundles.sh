#!/usr/bin/env bash
# What test-aarch64.sh compares processors with, made here, from a few rows of the demo data: bundles in fp32,
# int8, w8, and a shallow one with a 4-bit table and words; texts to be labelled, and labelled rows to refit
# with. The second time nothing is computed.
# usage: make-aarch64-bundles.sh FROSTHEAD FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

frosthead=$1
folder=$2
mkdir -p "$folder"
python3 -c '
import csv, sys
with open("data/demo.csv", newline="", encoding="utf-8") as source:
    header, *rows = csv.reader(source)
for name, part in {"learned": rows[::48], "texts": rows[20::600], "few": rows[30::240]}.items():
    with open(f"{sys.argv[1]}/{name}.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([header, *part])' "$folder"
"$frosthead" --quiet import .downloads/all-MiniLM-L6-v2 --out "$folder/backbone"
# run NAME OPTIONS…
run() {
  "$frosthead" --quiet train "$folder/learned.csv" --backbone "$folder/backbone" --cache "$folder/cache" \
    --task domain --task sentiment --out "$folder/$1" "${@:2}" >/dev/null
}
# bundle RUN NAME OPTIONS…: nothing is asked of its accuracy, only that it is the same everywhere.
bundle() {
  "$frosthead" --quiet bundle "$folder/$1" --out "$folder/$2.frost" "${@:3}" >/dev/null
}
run whole
run half --depth 3 --features layers:2+words
bundle whole fp32
bundle whole int8 --precision int8 --max-drop 100
bundle whole w8 --precision w8 --max-drop 100
bundle half shallow --precision int8 --table-bits 4 --max-drop 100
