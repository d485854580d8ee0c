#!/usr/bin/env bash
# One imbalanced case on the demo data: sentiment labels on 10 % of the rows only. That head is kept frozen while the top layers
# learn from the plentiful task, then released on the layers that moved.
# usage: imbalanced.sh        (after quickstart.sh; writes data/demo.imbalanced.csv and runs/imbalanced-*)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python3 - <<'END'
import csv, zlib

with open("data/demo.csv", newline="", encoding="utf-8") as source, \
        open("data/demo.imbalanced.csv", "w", newline="", encoding="utf-8") as target:
    rows, out = csv.DictReader(source), csv.writer(target, lineterminator="\n")
    out.writerow(rows.fieldnames)
    for row in rows:
        # Which rows keep their label depends on the text alone.
        keeps = zlib.crc32(row["text"].encode()) % 10 == 0
        out.writerow([row["text"], row["domain"], row["sentiment"] if keeps else ""])
END

train() {
  printf '\n$ frosthead train data/demo.imbalanced.csv --task domain --task sentiment %s\n' "$*"
  target/release/frosthead train data/demo.imbalanced.csv --task domain --task sentiment "$@"
}

backbone=models/all-MiniLM-L6-v2
# 2: both heads on the frozen backbone.
train --backbone $backbone --out runs/imbalanced-heads
# Both tasks move the top layers at once.
train --backbone $backbone --freeze backbone:0-3 --out runs/imbalanced-together
# 3: the rare task's head, fitted before, stays as it is while the layers learn the other task …
train --backbone $backbone --freeze backbone:0-3 --freeze head:sentiment --init-heads runs/imbalanced-heads --out runs/imbalanced-frozen
# … then it is released: fitted on the layers that moved, which stay as they are now.
train --backbone runs/imbalanced-frozen --out runs/imbalanced-released
