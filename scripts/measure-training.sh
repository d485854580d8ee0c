#!/usr/bin/env bash
# How the time of an epoch grows with the number of trained layers, and what half precision of token states costs.
# usage: measure-training.sh [FROSTHEAD]        (after quickstart.sh; some five minutes on two cores; writes data/demo.part.csv, runs/measure-*)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
frosthead=${1:-target/release/frosthead}

train() { # NAME DATA OPTIONS…
  local name=$1 data=$2
  shift 2
  "$frosthead" -q train "$data" --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment \
    --out "runs/measure-$name" --overwrite "$@" >/dev/null
}

# Every eighth row is enough to time epochs.
python3 - <<'END'
import csv

with open("data/demo.csv", newline="", encoding="utf-8") as source, open("data/demo.part.csv", "w", newline="", encoding="utf-8") as target:
    rows = list(csv.reader(source))
    csv.writer(target, lineterminator="\n").writerows(rows[:1] + rows[1::8])
END

echo 'trained layers: seconds of an epoch, share inside ONNX Runtime, seconds for the frozen part (once)'
for plan in 1=backbone:0-4 2=backbone:0-3 3=backbone:0-2 6=backbone:embeddings; do
  train "top${plan%%=*}" data/demo.part.csv --freeze "${plan#*=}" --epochs 2
  python3 - "${plan%%=*}" <<'END'
import json, sys

stage = json.load(open(f"runs/measure-top{sys.argv[1]}/training.json"))[0]
epoch = min(stage["epochs"][1:], key=lambda epoch: epoch["seconds"])
print(f"  {sys.argv[1]}: {epoch['seconds']:.1f} s, {epoch['runtime_seconds'] / epoch['seconds']:.0%}, {stage['states_seconds']:.1f} s", flush=True)
END
done

echo 'token states: bytes, test accuracy of domain and sentiment (top layer, 3 epochs)'
for precision in f16 f32; do
  train "$precision" data/demo.csv --freeze backbone:0-4 --states "$precision"
  python3 - "$precision" <<'END'
import json, sys

run = f"runs/measure-{sys.argv[1]}"
stage = json.load(open(f"{run}/training.json"))[0]
tasks = json.load(open(f"{run}/metrics.json"))["tasks"]
print(f"  {sys.argv[1]}: {stage['states_bytes']:,}, " + " ".join(f"{tasks[task]['accuracy']:.4f}" for task in ("domain", "sentiment")), flush=True)
END
done
