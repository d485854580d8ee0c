#!/usr/bin/env bash
# How the time of an epoch grows with the number of trained layers, and what half precision of token states costs.
# usage: measure-training.sh [FROSTHEAD]        (after quickstart.sh; some ten minutes on two cores; writes runs/measure-*)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
frosthead=${1:-target/release/frosthead}

train() { # NAME OPTIONS…
  local name=$1
  shift
  "$frosthead" -q train data/demo.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment \
    --out "runs/measure-$name" --overwrite "$@" >/dev/null
}

echo 'trained layers: seconds of an epoch, share inside ONNX Runtime, seconds for the frozen part (once)'
for plan in 1=backbone:0-4 2=backbone:0-3 3=backbone:0-2 6=backbone:embeddings; do
  train "top${plan%%=*}" --freeze "${plan#*=}" --epochs 1
  python3 - "${plan%%=*}" <<'END'
import json, sys

stage = json.load(open(f"runs/measure-top{sys.argv[1]}/training.json"))[0]
epoch = stage["epochs"][1]
print(f"  {sys.argv[1]}: {epoch['seconds']:.1f} s, {epoch['runtime_seconds'] / epoch['seconds']:.0%}, {stage['states_seconds']:.1f} s", flush=True)
END
done

echo 'token states: bytes, test accuracy of domain and sentiment (top layer, 3 epochs)'
for precision in f16 f32; do
  train "$precision" --freeze backbone:0-4 --states "$precision"
  python3 - "$precision" <<'END'
import json, sys

run = f"runs/measure-{sys.argv[1]}"
stage = json.load(open(f"{run}/training.json"))[0]
tasks = json.load(open(f"{run}/metrics.json"))["tasks"]
print(f"  {sys.argv[1]}: {stage['states_bytes']:,}, " + " ".join(f"{tasks[task]['accuracy']:.4f}" for task in ("domain", "sentiment")), flush=True)
END
done
