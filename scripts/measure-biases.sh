#!/usr/bin/env bash
# What `--train biases` saves and costs: seconds of an epoch beside those of the same layers whole, in turns; test accuracy with three
# seeds on a part of the demo data, on an imbalanced case (sentiment labels on 10 % of the rows) and on 300 rows; what a run keeps and
# what an update weighs.
# usage: measure-biases.sh [FROSTHEAD [ROWS]]      (after quickstart.sh; some twenty minutes on two idle cores; writes runs/biases)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
frosthead=${1:-target/release/frosthead}
rows=${2:-3000}
out=runs/biases
mkdir -p "$out"

python3 - "$rows" "$out" <<'END'
import csv, sys, zlib

rows, out = int(sys.argv[1]), sys.argv[2]
with open("data/demo.csv", newline="", encoding="utf-8") as source:
    all_rows = list(csv.DictReader(source))


def write(name, chosen, keeps=lambda row: True):
    with open(f"{out}/{name}.csv", "w", newline="", encoding="utf-8") as target:
        table = csv.writer(target, lineterminator="\n")
        table.writerow(["text", "domain", "sentiment"])
        table.writerows([row["text"], row["domain"], row["sentiment"] if keeps(row) else ""] for row in chosen)


# Every n-th row; the tests of all three are the same rows, which none of them is trained on.
tests, others = all_rows[::8], [row for place, row in enumerate(all_rows) if place % 8]
write("test", tests)
write("demo", others[:: len(others) // rows][:rows])
write("imbalanced", others[:: len(others) // rows][:rows], lambda row: zlib.crc32(row["text"].encode()) % 10 == 0)
write("few", others[:: len(others) // 300][:300])
END

train() { # NAME DATA OPTIONS…
  local name=$1 data=$2
  shift 2
  "$frosthead" -q train "$out/$data.csv" --test "$out/test.csv" --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment \
    --out "$out/$name" --overwrite "$@" >/dev/null
}

echo "seconds of an epoch, fastest of four epochs in two turns ($rows rows): all, biases, how many times as fast"
for turn in 1 2; do
  for layers in 1 2; do
    for what in all biases; do
      train "time-$layers-$what-$turn" demo --unfreeze "$layers" --train "$what" --epochs 2 --patience 9
    done
  done
done
python3 - "$out" <<'END'
import json, sys

for layers in (1, 2):
    seconds = {}
    for what in ("all", "biases"):
        runs = [json.load(open(f"{sys.argv[1]}/time-{layers}-{what}-{turn}/training.json"))[0] for turn in (1, 2)]
        seconds[what] = min(epoch["seconds"] for run in runs for epoch in run["epochs"][1:])
    print(f"  top {layers}: {seconds['all']:.1f} s, {seconds['biases']:.1f} s, {seconds['all'] / seconds['biases']:.2f}", flush=True)
END

for data in demo imbalanced few; do
  for seed in 13 14 15; do
    train "$data-heads-$seed" "$data" --seed "$seed"
    for what in all biases; do
      train "$data-$what-$seed" "$data" --unfreeze 0,1,2 --train "$what" --seed "$seed"
    done
  done
done
python3 - "$out" <<'END'
import json, statistics, sys
from pathlib import Path

out = Path(sys.argv[1])
print("test accuracy of domain / sentiment, mean of three seeds (lowest to highest); bytes of the backbone that the run keeps")
for data in ("demo", "imbalanced", "few"):
    for what in ("heads", "all", "biases"):
        runs = [out / f"{data}-{what}-{seed}" for seed in (13, 14, 15)]
        found = [json.load(open(run / "metrics.json"))["tasks"] for run in runs]
        figures = []
        for task in ("domain", "sentiment"):
            values = [one[task]["accuracy"] for one in found]
            figures.append(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        kept = max(((run / "backbone.safetensors").stat().st_size for run in runs if (run / "backbone.safetensors").exists()), default=0)
        print(f"  {data}, {what}: {' / '.join(figures)}; {kept:,}", flush=True)
END

echo 'bytes of an update from the bundle of heads alone, in fp32 and int8'
for precision in fp32 int8; do
  options=(--precision "$precision" --overwrite)
  [ "$precision" = fp32 ] || options+=(--max-drop 100)
  "$frosthead" -q bundle "$out/demo-heads-13" "${options[@]}" --out "$out/old-$precision.frost" >/dev/null
  for what in all biases; do
    update="$out/$what-$precision.frostup"
    "$frosthead" -q bundle "$out/demo-$what-13" "${options[@]}" --update-of "$out/old-$precision.frost" --out "$update" >/dev/null
    "$frosthead" -q update "$out/old-$precision.frost" "$update" --out "$out/new.frost" --overwrite
    echo "  $precision, $what: $(stat -c %s "$update") of $(stat -c %s "$out/new.frost")"
  done
done
