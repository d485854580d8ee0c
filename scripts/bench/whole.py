"""The job "whole": from a labelled CSV to predictions of what was deployed, every step a process of its own, everything counted.

Refuses to start from what an earlier round left: our own feature store is emptied before each.
"""

import json
import shutil

from contestants import PEERS, encoders
from material import read_table
from single import launch
from turns import take_turns

SHOTS = 16
# Our own program with all layers, and with half of them.
OURS = {"frosthead": [], "frosthead, depth 3": ["--depth", 3]}


def measure(bench):
    print("bench: whole job", flush=True)
    train, test = bench.material.labelled()
    jobs = {
        "all labels, two tasks": (
            train,
            ["domain", "sentiment"],
            list(usual_recipes(bench)),
        ),
        f"{SHOTS} labels of each sentiment": (
            bench.material.few(SHOTS),
            ["sentiment"],
            [("SetFit", "setfit", "job_setfit.py", lambda: bench.material.checkpoint)],
        ),
    }
    for name, (rows, tasks, peers) in jobs.items():
        if bench.wants(name):
            yield one_job(bench, name, rows, test, tasks, peers)


def usual_recipes(bench):
    """sentence-transformers + scikit-learn, the encoder as it comes and as OpenVINO runs it, whose conversion is not counted."""
    for encoder in encoders(bench):
        if encoder.name.split(", ")[1] in ("torch", "OpenVINO"):
            yield (
                f"{encoder.name} + scikit-learn",
                encoder.environment,
                "job_sentence_transformers.py",
                lambda encoder=encoder: json.dumps(encoder.options() | {"threads": bench.threads}),
            )


def one_job(bench, name, train, test, tasks, peers):
    folder, accuracies, steps, peaks = bench.material.folder / "whole", {}, {}, {}
    truth = read_table(test)

    def job(contestant, commands, predictions):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        launched = [launch(command, "") for command in commands()]
        found = predictions()
        accuracies[contestant] = {
            task: sum(label == row[task] for label, row in zip(found[task], truth, strict=True)) / len(truth)
            for task in tasks
        }
        steps.setdefault(contestant, []).append([step["seconds"] for step in launched])
        peaks.setdefault(contestant, []).append(max(step["peak_rss_bytes"] for step in launched))
        return sum(step["seconds"] for step in launched)

    named = [word for task in tasks for word in ("--task", task)]
    ours = [bench.frosthead, "-q"]
    threads = ["--threads", bench.threads]
    own_commands = lambda depth: [
        [
            *ours,
            "train",
            train,
            "--test",
            test,
            "--backbone",
            bench.material.backbone,
            *named,
            "--features",
            "auto",
            *depth,
            "--out",
            folder / "run",
            "--cache",
            folder / "cache",
            *threads,
        ],
        [*ours, "bundle", folder / "run", "--out", folder / "x.frost"],
        [*ours, "predict", test, "--model", folder / "x.frost", "--out", folder / "found.jsonl", *threads],
    ]

    def own_predictions():
        rows = [
            json.loads(line) for line in (folder / "found.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return {task: [row[f"{task}_predicted"] for row in rows] for task in tasks}

    def their_commands(environment, script, model):
        program = [bench.environments.python(environment), PEERS / script]
        return [
            [*program, "train", train, model(), folder / "model", *tasks],
            [*program, "predict", test, model(), folder / "model", *tasks],
        ]

    their_predictions = lambda: json.loads((folder / "model/found.json").read_text())
    measures = {
        contestant: lambda contestant=contestant, depth=depth: job(
            contestant, lambda: own_commands(depth), own_predictions
        )
        for contestant, depth in OURS.items()
    }
    for title, *how in peers:
        measures[title] = lambda title=title, how=how: job(
            title, lambda: their_commands(*how), their_predictions
        )
    seconds = take_turns(measures, bench.rounds, bench.skips)
    rows = [
        {
            "contestant": contestant,
            "which": "default",
            "settings": {},
            "seconds": taken,
            "steps": steps[contestant],
            "accuracies": accuracies[contestant],
            "peak_rss_bytes": peaks[contestant],
        }
        for contestant, taken in seconds.items()
    ]
    return {"job": "whole", "set": name, "amount": len(read_table(train)), "unit": "s", "rows": rows}
