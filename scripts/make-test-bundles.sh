#!/usr/bin/env bash
# Bundles for test-page.sh and test-deb.sh, from every eighth row of the demo data: FOLDER/one.frost knows both tasks,
# FOLDER/other.frost domain only, FOLDER/kinds.frost a task of every kind. The second time nothing is computed.
# usage: make-test-bundles.sh FROSTHEAD FOLDER      after scripts/test.sh, which fetches what it needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

frosthead=$1
folder=$2
mkdir -p "$folder"
python3 -c '
import csv, sys
with open("data/demo.csv", newline="", encoding="utf-8") as source, open(sys.argv[1], "w", newline="", encoding="utf-8") as target:
    rows = list(csv.DictReader(source))[::8]
    target = csv.DictWriter(target, [*rows[0], "tags", "words"])
    target.writeheader()
    for row in rows:
        tags = [row["domain"], row["sentiment"]] + ["long"] * (len(row["text"]) > 150)
        target.writerow(row | {"tags": ";".join(tags), "words": len(row["text"].split())})' "$folder/part.csv"
"$frosthead" --quiet import .downloads/all-MiniLM-L6-v2 --out "$folder/backbone"
# bundle NAME TASKS…
bundle() {
  "$frosthead" --quiet train "$folder/part.csv" --backbone "$folder/backbone" --cache "$folder/cache" --store-layers last \
    --out "$folder/$1" "${@:2}" >/dev/null
  "$frosthead" --quiet bundle "$folder/$1" --out "$folder/$1.frost"
}
bundle one --task domain --task sentiment
bundle other --task domain
bundle kinds --task domain --any-of tags --number words
