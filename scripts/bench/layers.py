"""The job "layers": an epoch of training the top layers, ours and PyTorch's, by `scripts/peers/finetune.py`.

Refuses to compare speeds without accuracies: both stand in each row, of the same rows, schedule and starting point.
"""

import json
import subprocess

from contestants import PEERS
from environments import ROOT, Unavailable


FED = {"recomputed": "frozen layers recomputed", "cached": "fed with cached states"}


def measure(bench):
    for top in (1, 2):
        for how in ("recomputed", "cached"):
            name = f"top {top}, {FED[how]}"
            if not bench.wants(name):
                continue
            print(f"bench: layers, {name}", flush=True)
            result = bench.skips.attempt(
                f"PyTorch, top {top}, {how}", lambda: one_plan(bench, name, top, how)
            )
            if result:
                yield result


def one_plan(bench, name, top, how):
    python = bench.environments.python("sentence-transformers")
    material, out = bench.material, bench.material.folder / "layers.json"
    seeds = ",".join(str(13 + place) for place in range(bench.rounds))
    command = [
        python,
        PEERS / "finetune.py",
        bench.frosthead,
        material.table(),
        material.features(),
        material.backbone,
        material.checkpoint,
        "--top",
        top,
        "--how",
        how,
        "--seeds",
        seeds,
        "--epochs",
        bench.epochs,
        "--json",
        out,
    ]
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise Unavailable(f"ended with status {done.returncode}: {done.stdout[-400:]}")
    seeds = json.loads(out.read_text())
    rows = [
        {
            "contestant": contestant,
            "which": which,
            "settings": {},
            "seconds": [seed[key]["seconds"] for seed in seeds],
            "accuracies": [seed[key]["accuracies"] for seed in seeds],
        }
        for contestant, key, which in (
            ("frosthead", "frosthead", "default"),
            (f"PyTorch, {FED[how]}", "torch", how),
        )
    ]
    return {"job": "layers", "set": name, "unit": "s an epoch", "rows": rows}
