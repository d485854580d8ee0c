#!/usr/bin/env bash
# Measures frosthead and its peers in turns: the same texts, model, threads and machine. Sets up what is missing, each peer in an
# environment of its own under .downloads/peers; the large ones (PyTorch) only with --all. Writes benches/runs/DATE-MACHINE/.
# usage: bench.sh [--all] [--quick] [--jobs extraction,single,heads,layers,whole,growth,frontier] [--sets TEXT] [--rounds N] [--threads N]
#                 [--table CSV --tasks A,B --depths 0,3,6] [--data DIR] [--out DIR] [--update-docs]         bench.sh --help says more
# The environment may name built programs (FROSTHEAD, and FROSTHEAD_EDGE, which devices get); otherwise they are built. Linux; hours with everything; nothing else should run.

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_model
setup_demo_data

frosthead=${FROSTHEAD:-target/release/frosthead}
[ -n "${FROSTHEAD:-}" ] || cargo build --release --quiet
edge=${FROSTHEAD_EDGE:-}
[ -n "$edge" ] || edge=$(./scripts/cross.sh "$(uname -m)" edge)
for program in "$frosthead" "$edge"; do
  [ -x "$program" ] || fail "$program is no program"
done
"$frosthead" -q import "$downloads/all-MiniLM-L6-v2" --out models/all-MiniLM-L6-v2

# What drives the benchmark has an environment of its own, too.
python=$(python3 scripts/bench/environments.py driver)
exec "$python" scripts/bench/main.py --frosthead="$frosthead" --edge="$edge" \
  --runtime="$downloads/onnxruntime/libonnxruntime.so.$runtime_version" "$@"
