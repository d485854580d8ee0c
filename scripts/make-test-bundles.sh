#!/usr/bin/env bash
# Bundles for test-page.sh and test-deb.sh, from every eighth row of the demo data: FOLDER/one.frost knows both tasks,
# FOLDER/other.frost domain only, FOLDER/kinds.frost a task of every kind, FOLDER/many.frost one of 150 labels (of made-up texts). The
# second time nothing is computed.
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
        target.writerow(row | {"tags": ";".join(tags), "words": len(row["text"].split())})
ways = ["please do {} for me", "I want {}", "could you see to {} today?", "{}, now", "how does {} work?", "tell me about {}"]
with open(sys.argv[2], "w", newline="", encoding="utf-8") as target:
    target = csv.writer(target)
    target.writerow(["text", "intent"])
    for label in range(150):
        target.writerows([way.format(f"thing {label}"), f"a long name of intent number {label}"] for way in ways)
' "$folder/part.csv" "$folder/many.csv"
"$frosthead" --quiet import .downloads/all-MiniLM-L6-v2 --out "$folder/backbone"
# bundle TABLE NAME TASKS…
bundle() {
  local table=$1
  shift
  "$frosthead" --quiet train "$folder/$table.csv" --backbone "$folder/backbone" --cache "$folder/cache" --store-layers last \
    --out "$folder/$1" "${@:2}" >/dev/null
  "$frosthead" --quiet bundle "$folder/$1" --out "$folder/$1.frost"
}
bundle part one --task domain --task sentiment
bundle part other --task domain
bundle part kinds --task domain --any-of tags --number words
bundle many many --task intent
