"""The job "heads": linear heads on cached features, ours and scikit-learn's, on the same standardised rows with the same penalty.

Refuses to call a fit faster that stopped earlier: the final losses, by one objective in f64, stand beside the times.
"""

import json
import shutil

from contestants import PEERS
from turns import Worker, take_turns

ALPHA = 100
CANDIDATES = [{"dtype": "float64"}, {"dtype": "float32"}]


def measure(bench):
    for name, features, task in sets(bench):
        if not bench.wants(name):
            continue
        print(f"bench: heads, {name}", flush=True)
        result = bench.skips.attempt("scikit-learn", lambda: one_set(bench, name, features, task))
        if result:
            yield result


def sets(bench):
    """(name, Parquet of features, task)"""
    demo = bench.material.features()
    yield "demo: domain", demo, "domain"
    yield "demo: sentiment", demo, "sentiment"
    for rows, classes in ((15_000, 150), (200_000, 10)):
        rows = rows // 10 if bench.quick else rows
        yield (
            f"{rows:,} rows made up, {classes} classes",
            bench.material.synthetic(f"{classes}-classes-{rows}-rows", rows, classes),
            "label",
        )


def one_set(bench, name, features, task):
    run = bench.material.folder / "heads-run"
    fits = []

    def ours():
        shutil.rmtree(run, ignore_errors=True)
        bench.material.run(
            "train", features, "--task", task, "--alpha", ALPHA, "--out", run, "--threads", bench.threads
        )
        fits.append(json.loads((run / "fit.json").read_text())[0])
        return fits[-1]["seconds"]

    ours()
    worker = Worker([bench.environments.python("scikit-learn"), PEERS / "fit_scikit_learn.py"])
    shape = worker.ask("load", {"features": str(features), "run": str(run), "task": task, "alpha": ALPHA})
    trials = [(worker.ask("pass", settings)["seconds"], place) for place, settings in enumerate(CANDIDATES)]
    best = CANDIDATES[min(trials)[1]]
    losses = {}

    def theirs(which, settings):
        taken = worker.ask("pass", settings)["seconds"]
        losses[which] = worker.ask("losses", {})
        return taken

    measures = {
        "frosthead": ours,
        "scikit-learn, default": lambda: theirs("default", {}),
        "scikit-learn, best": lambda: theirs("best", best),
    }
    seconds = take_turns(measures, bench.rounds, bench.skips)
    worker.stop()
    rows = [
        {
            "contestant": "frosthead",
            "which": "default",
            "settings": {},
            "seconds": seconds["frosthead"],
            "loss": losses["default"]["frosthead"],
        }
    ]
    rows += [
        {
            "contestant": "scikit-learn",
            "which": which,
            "settings": settings,
            "seconds": seconds[f"scikit-learn, {which}"],
            "loss": losses[which]["scikit-learn"],
        }
        for which, settings in (("default", {}), ("best", best))
    ]
    return {"job": "heads", "set": name, "amount": shape["rows"], "unit": "s", "shape": shape, "rows": rows}
