#!/usr/bin/env bash
# The five figures of `frosthead serve`, on a quiet machine:
#
#   scripts/measure-serve.sh INT8.frost FP32.frost [SECONDS [SECONDS of 3 and 4]]
#
# 1 a lone client against `bench latency`; 2 64 clients against `bench embed`; 3 twice that rate, whatever the answers; 4 a bundle
# exchanged every 2 s under load, in turns by `mv` and by `cp` over the file itself; 5 FP32.frost against FastAPI, in turns. Needs the release build, and pip for 5.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

int8=$(realpath "$1") fp32=$(realpath "$2") seconds=${3:-20} long=${4:-60}
frosthead=target/release/frosthead data=data/demo.csv port=18080
work=$(mktemp -d)
# Nobody's tuning.
export FROSTHEAD_CONFIG=$work/config
export ORT_DISABLE_TELEMETRY=1 # the peer's, too
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(ls "$PWD"/.downloads/onnxruntime/libonnxruntime.so.*)}
server=
# Only what this script started.
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=; }; }
trap 'stop; rm -rf "$work"' EXIT

wait_for() { # PATH PORT
  for _ in $(seq 200); do curl --silent --fail --output /dev/null "http://127.0.0.1:$2$1" && return; sleep 0.1; done
  echo "nothing answers on port $2" >&2
  exit 1
}
start() { "$frosthead" serve "$1" --bind "127.0.0.1:$port" "${@:2}" 2>"$work/log" & server=$!; wait_for /readyz $port; }
load() { "$frosthead" bench serve "$data" --server "127.0.0.1:$port" --json "$@"; }
# show NAME FIELD…: fields of the JSON on standard input.
show() {
  python3 -c '
import json, sys
own = json.load(sys.stdin)
def get(path):
    value = own
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
fields = (f"{path} {round(v, 2) if isinstance(v := get(path), float) else v}" for path in sys.argv[2:])
print(sys.argv[1] + ": " + ", ".join(fields))' "$@"
}
rss() { awk '/VmRSS/ { print $2 }' "/proc/$server/status"; }
cpu() { awk -v ticks="$(getconf CLK_TCK)" '{ print ($14 + $15) / ticks }' "/proc/$server/stat"; }
figures=(texts_per_second statuses accepted.p50 accepted.p95 accepted.p99 cpu_seconds)

echo "== 1: one client, one text"
"$frosthead" bench latency "$data" --model "$int8" --limit 3000 --rounds 1 --json | show "bench latency" milliseconds.p50 milliseconds.p99
start "$int8"
load --clients 1 --seconds "$seconds" | show "one client" "${figures[@]}"

echo "== 2: 64 clients"
"$frosthead" bench embed "$data" --backbone "$int8" --limit 3000 --json | show "bench embed" texts_per_second padding_share
load --clients 64 --seconds "$seconds" | tee "$work/two" | show "64 clients" "${figures[@]}"
echo "server: $(cpu) s of processor so far, $(rss) kB"

echo "== 3: twice that rate for $long s"
rate=$(python3 -c 'import json, sys; print(2 * json.load(open(sys.argv[1]))["texts_per_second"])' "$work/two")
load --rate "$rate" --clients 4000 --seconds "$long" | show "warm-up" "${figures[@]}"
before=$(rss)
load --rate "$rate" --clients 4000 --seconds "$long" | show "open loop at $rate/s" "${figures[@]}" refused.p50 refused.p99 latest_start
echo "memory after the warm-up $before kB, at the end $(rss) kB"
stop

echo "== 4: another bundle every 2 s for $long s"
cp "$int8" "$work/x.frost"
start "$work/x.frost"
(
  for turn in $(seq $((long / 2))); do
    sleep 2
    if [ $((turn % 2)) = 1 ]; then cp "$fp32" "$work/new"; else cp "$int8" "$work/new"; fi
    if [ $((turn % 4)) -lt 2 ]; then mv "$work/new" "$work/x.frost"; else cp "$work/new" "$work/x.frost"; fi
  done
) &
exchanges=$!
load --clients 16 --seconds "$((long + 2))" --check "$int8" --check "$fp32" | show "answers" requests statuses checked wrong models
wait "$exchanges"
echo "exchanged $(grep -c 'new bundle' "$work/log") times; memory $(rss) kB"
stop

echo "== 5: FastAPI, in turns"
venv=.downloads/venv-serve
[ -x "$venv/bin/uvicorn" ] || { python3 -m venv "$venv"; "$venv/bin/pip" install --quiet "fastapi<1" "uvicorn[standard]<1" onnxruntime==1.32.0 tokenizers numpy; }
python3 -m zipfile -e "$fp32" "$work/unzipped"
for round in 1 2 3; do
  start "$fp32"
  load --clients 64 --seconds "$seconds" | show "frosthead, round $round" "${figures[@]}"
  echo "memory $(rss) kB"
  stop
  "$venv/bin/python" scripts/peers/serve_fastapi.py "$work/unzipped" --port "$port" &
  server=$!
  wait_for /openapi.json $port
  load --clients 64 --seconds "$seconds" | show "FastAPI, round $round" "${figures[@]}"
  echo "memory $(rss) kB"
  stop
done
