#!/usr/bin/env bash
# Two tasks on one sentence: scenarios compared, depth chosen, bundled, served. README.md beside it explains.
# usage: run.sh      writes data/two-tasks.csv and runs/two-tasks/

source "$(dirname "${BASH_SOURCE[0]}")/../example.sh"
setup_demo_data

out=runs/two-tasks
port=${PORT:-8098}
rm -rf "$out"
mkdir -p "$out"
# Every eighth row: minutes instead of a quarter of an hour.
awk 'NR % 8 == 1' data/demo.csv > data/two-tasks.csv

run compare data/two-tasks.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment \
  --scenarios 1,2,2:auto,top1 --out "$out/compare"
run train data/two-tasks.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --features auto \
  --out "$out/run"
run bundle "$out/run" --precision int8 --depth auto --max-drop 1 --out "$out/small.frost"
run inspect "$out/small.frost"

printf '\n$ frosthead serve %s --bind 127.0.0.1:%s\n' "$out/small.frost" "$port"
"$program" serve "$out/small.frost" --bind "127.0.0.1:$port" &
server=$!
trap 'kill "$server" 2>/dev/null' EXIT
for _ in $(seq 100); do
  curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.1
done
printf '\n$ curl -s 127.0.0.1:%s/v1/predict -d @examples/two-tasks/request.json\n' "$port"
curl --silent --fail --header 'Content-Type: application/json' --data @examples/two-tasks/request.json \
  "http://127.0.0.1:$port/v1/predict"
printf '\n'
