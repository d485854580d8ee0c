#!/usr/bin/env bash
# Proves that frosthead really runs on an NVIDIA GPU: that the provider is there and takes all computation, that the
# embeddings agree with those of the processor, and how many texts a second it reaches. Run it on a machine that has one.
#
#   scripts/check-cuda.sh [DATA]
#
# DATA is a table with a column `text` (default: 200 sentences that this script makes up). Relative paths count from the
# project's root. The environment may name:
#   FROSTHEAD        the built program              (default: target/release/frosthead, then target/debug/frosthead)
#   BACKBONE         an imported backbone           (default: models/all-MiniLM-L6-v2)
#   ORT_DYLIB_PATH   the CUDA build of ONNX Runtime (default: out of the Python package onnxruntime-gpu)
#   PYTHON           a Python with pyarrow          (default: python3)
#   DEVICE           the device to prove            (default: cuda)
#
# CUDA and cuDNN are found on the system or in Python's nvidia-* packages. Exit status 0: everything held; 1: something
# did not; 2: it could not be checked (something is missing).

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
backbone=${BACKBONE:-models/all-MiniLM-L6-v2}
device=${DEVICE:-cuda}
# Two fp32 implementations that sum in another order agree to about 1e-6; a wrong operator is far below this.
least_cosine=0.9999

missing() {
    printf 'check-cuda: cannot check: %s\n' "$1" >&2
    exit 2
}

failed() {
    printf 'check-cuda: FAILED: %s\n' "$1" >&2
    exit 1
}

passed() {
    printf 'check-cuda: ok: %s\n' "$1"
}

# --- what is needed -----------------------------------------------------------------------------------------------

if [[ $# -gt 1 ]]; then
    missing "one table at most, got $# arguments"
fi

program=${FROSTHEAD:-}
if [[ -z $program ]]; then
    for candidate in target/release/frosthead target/debug/frosthead; do
        if [[ -x $candidate ]]; then
            program=$candidate
            break
        fi
    done
fi
[[ -n $program && -x $program ]] || missing "no built program: run cargo build --release, or set FROSTHEAD"
[[ -d $backbone ]] || missing "no backbone at $backbone: run frosthead import, or set BACKBONE"
command -v nvidia-smi >/dev/null || missing "no nvidia-smi: this machine has no NVIDIA driver"
gpus=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader) || missing "nvidia-smi finds no usable GPU"
"$python" -c 'import pyarrow.parquet' 2>/dev/null || missing "no pyarrow in $python: set PYTHON to one that has it"

# Folders of Python's nvidia-* packages that hold libraries, joined by colons; the package of ONNX Runtime itself.
package_folders=$(
    "$python" - <<'PYTHON'
import pathlib
import site

roots = [pathlib.Path(root) for root in [*site.getsitepackages(), site.getusersitepackages()]]
folders = {str(file.parent) for root in roots for file in root.glob("nvidia/**/lib*.so*")}
print(":".join(sorted(folders)))
PYTHON
)
if [[ -n $package_folders ]]; then
    export LD_LIBRARY_PATH="$package_folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

if [[ -z ${ORT_DYLIB_PATH:-} ]]; then
    ORT_DYLIB_PATH=$(
        "$python" - <<'PYTHON'
import importlib.util
import pathlib

package = importlib.util.find_spec("onnxruntime")
if package is not None:
    folder = pathlib.Path(package.origin).parent / "capi"
    libraries = sorted(folder.glob("libonnxruntime.so*"))
    if libraries and (folder / "libonnxruntime_providers_cuda.so").exists():
        print(libraries[-1])
PYTHON
    )
fi
[[ -n $ORT_DYLIB_PATH ]] || missing "no CUDA build of ONNX Runtime: pip install onnxruntime-gpu, or set ORT_DYLIB_PATH"
[[ -e $ORT_DYLIB_PATH ]] || missing "ORT_DYLIB_PATH names $ORT_DYLIB_PATH, which is not there"
export ORT_DYLIB_PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A store of its own: nothing that was cached before may stand in for a result.
export FROSTHEAD_CACHE="$work/cache" FROSTHEAD_CONFIG="$work/config"

data=${1:-}
if [[ -z $data ]]; then
    data=$work/sentences.csv
    "$python" - "$data" <<'PYTHON'
import csv
import random
import sys

words = (
    "the a one every some this report camera winter market garden engine music price kitchen answer slowly never "
    "quietly broke works looks arrived sounds remains brilliant dull cheap careful broken famous and but because"
).split()
chooser = random.Random(13)
with open(sys.argv[1], "w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["text"])
    for row in range(200):
        table.writerow([f"{row} " + " ".join(chooser.choices(words, k=chooser.randint(1, 120)))])
PYTHON
fi
[[ -r $data ]] || missing "cannot read $data"

printf 'check-cuda: %s\ncheck-cuda: GPU: %s\ncheck-cuda: ONNX Runtime: %s\n' "$program" "$gpus" "$ORT_DYLIB_PATH"

# --- 1. the provider is there and takes the computation -------------------------------------------------------------

"$program" doctor --device "$device" >"$work/doctor" 2>&1 || {
    cat "$work/doctor" >&2
    failed "frosthead doctor --device $device"
}
cat "$work/doctor"
grep -q CUDAExecutionProvider "$work/doctor" || failed "doctor does not name CUDAExecutionProvider"
passed "frosthead doctor --device $device"

# --- 2. the same embeddings as the processor ------------------------------------------------------------------------

for kind in cpu "$device"; do
    "$program" embed "$data" --backbone "$backbone" --device "$kind" --out "$work/${kind//:/-}.parquet" ||
        failed "frosthead embed --device $kind (an operator left on the processor is an error there, too)"
done

"$python" - "$work/cpu.parquet" "$work/${device//:/-}.parquet" "$least_cosine" <<'PYTHON' || failed "the embeddings of $device and cpu differ"
import math
import sys

import pyarrow.parquet

paths, least = sys.argv[1:3], float(sys.argv[3])
processor, gpu = (pyarrow.parquet.read_table(path)["embedding"].to_pylist() for path in paths)
if len(processor) != len(gpu) or not processor:
    sys.exit(f"{len(processor)} rows from the processor, {len(gpu)} from the GPU")
worst, worst_row = 2.0, 0
for row, (a, b) in enumerate(zip(processor, gpu), start=1):
    if len(a) != len(b) or not all(map(math.isfinite, [*a, *b])):
        sys.exit(f"row {row}: lengths {len(a)} and {len(b)}, or a value that is not finite")
    cosine = math.fsum(x * y for x, y in zip(a, b)) / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    if not cosine >= worst:
        worst, worst_row = cosine, row
print(f"check-cuda: {len(gpu)} rows, smallest cosine {worst:.8f} in row {worst_row}")
if not worst >= least:
    sys.exit(f"the smallest cosine must be at least {least}")
# The same bits in every row mean that the second run did not compute on another device at all.
if processor == gpu:
    sys.exit("both results have the same bits: the GPU did not compute, or a stored result was returned")
PYTHON
passed "embeddings of $device agree with cpu (cosine >= $least_cosine)"

# --- 3. speed ---------------------------------------------------------------------------------------------------------

"$program" bench embed "$data" --backbone "$backbone" --device "$device" --json >"$work/bench.json" ||
    failed "frosthead bench embed --device $device"
"$python" - "$work/bench.json" <<'PYTHON' || failed "frosthead bench embed gave no rate"
import json
import sys


def rates(value):
    """Every positive texts/s figure in the report, wherever it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if "texts_per_second" in key and isinstance(inner, (int, float)) and inner > 0:
                yield inner
            else:
                yield from rates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from rates(inner)


with open(sys.argv[1], encoding="utf-8") as file:
    found = list(rates(json.load(file)))
if not found:
    sys.exit("no positive texts_per_second in the report")
print(f"check-cuda: {max(found):.0f} texts/s")
PYTHON
passed "frosthead bench embed --device $device"

printf 'check-cuda: all checks passed: provider, placement, embeddings against cpu, speed\n'
