#!/usr/bin/env python3
"""What calibration does to heads that were trained on small tables, on rows that they never saw.

usage: calibration-table.py FROSTHEAD BACKBONE DATA [--sizes 60,100,200,300,400] [--seeds 20] [-- TRAIN OPTIONS …]

DATA is a folder NAME with NAME_train.csv and NAME_test.csv; both are taken together, and every column but `text` is a task. Draws
tables of so many rows, gives each to `frosthead train` (which divides it as it does by default), and measures its heads on all
rows that were not drawn, without and with the temperature of the run. Prints a Markdown table: calibration error (15 bins) before
and after, mean over the draws; the worst change of it; the mean fall of the log loss, as a share of what the best temperature
would bring, which is fitted on the very rows that are measured; how often the log loss rose; how often nothing was applied.
needs: numpy and pyarrow (.downloads/venv has them).
"""

import argparse, csv, json, subprocess, sys, tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet


def probabilities(logits, temperature):
    scaled = logits / temperature
    scaled -= scaled.max(1, keepdims=True)
    exponents = np.exp(scaled)
    return exponents / exponents.sum(1, keepdims=True)


def log_loss(logits, truth, temperature=1.0):
    return -np.log(probabilities(logits, temperature)[np.arange(len(truth)), truth] + 1e-300).mean()


def calibration_error(logits, truth, temperature=1.0):
    answers = probabilities(logits, temperature)
    certainty, right = answers.max(1), answers.argmax(1) == truth
    bins = np.minimum((certainty * 15).astype(int), 14)
    return sum(abs(certainty[bins == one].sum() - right[bins == one].sum()) for one in range(15)) / len(truth)


def best_temperature(logits, truth):
    low, high = -np.log(20.0), np.log(20.0)
    for _ in range(40):  # golden sections: the log loss has one minimum in the temperature's logarithm
        left, right = high - 0.618 * (high - low), low + 0.618 * (high - low)
        if log_loss(logits, truth, np.exp(left)) < log_loss(logits, truth, np.exp(right)):
            high = right
        else:
            low = left
    return np.exp((low + high) / 2)


def heads(run):
    """Per task: labels, weights, bias, temperature."""
    data = (run / "heads.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]

    def tensor(name):
        entry = header[name]
        start, end = entry["data_offsets"]
        return np.frombuffer(body[start:end], "<f4").reshape(entry["shape"]).astype(float)

    for task in json.loads(header["__metadata__"]["tasks"]):
        name = task["task"]
        yield (
            name,
            task["labels"],
            *(tensor(f"heads.{name}.{part}") for part in ("weight", "bias", "temperature")),
        )


def measured(head, features, cells):
    _, labels, weights, bias, temperature = head
    known = np.array([cell in labels for cell in cells])
    truth = np.array([labels.index(cell) for cell, is_known in zip(cells, known) if is_known])
    logits, temperature = features[known] @ weights.T + bias, float(temperature[0])
    return {
        "before": calibration_error(logits, truth),
        "after": calibration_error(logits, truth, temperature),
        "loss before": log_loss(logits, truth),
        "loss after": log_loss(logits, truth, temperature),
        "loss best": log_loss(logits, truth, best_temperature(logits, truth)),
        "temperature": temperature,
    }


def row(task, size, draws):
    column = lambda name: np.array([draw[name] for draw in draws])
    gain, most = column("loss before") - column("loss after"), column("loss before") - column("loss best")
    worst = (column("after") - column("before")).max()
    return (
        f"| {task} | {size} | {column('before').mean():.3f} → {column('after').mean():.3f} | {worst:+.3f} "
        f"| {100 * gain.mean() / most.mean():.0f} % | {(gain < -1e-9).sum()} | {(column('temperature') == 1).sum()} "
        f"| {column('temperature').mean():.2f} |"
    )


def main():
    words = sys.argv[1:]
    more = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("frosthead", type=Path)
    parser.add_argument("backbone")
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", default="60,100,200,300,400")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args(words[: len(words) - len(more) - ("--" in words)])
    program, name = options.frosthead.resolve(), options.data.resolve().name
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with open(folder / "all.csv", "w", newline="", encoding="utf-8") as target:
            for number, part in enumerate(("train", "test")):
                with open(options.data / f"{name}_{part}.csv", newline="", encoding="utf-8") as source:
                    csv.writer(target).writerows(list(csv.reader(source))[number and 1 :])
        subprocess.run(
            [
                program,
                "-q",
                "embed",
                folder / "all.csv",
                "--quoting",
                "double",
                "--backbone",
                options.backbone,
                "--out",
                folder / "all.parquet",
            ],
            check=True,
        )
        table = parquet.read_table(folder / "all.parquet")
        features = np.stack(table["embedding"].to_numpy(zero_copy_only=False)).astype(float)
        tasks = [column for column in table.column_names if column not in ("text_hash", "text", "embedding")]
        cells = {task: np.array(table[task].to_pylist()) for task in tasks}
        print(
            "| task | rows | calibration error | worst | of the best gain | worse | not applied | T |\n|---|---|---|---|---|---|---|---|"
        )
        found = {}
        for size in map(int, options.sizes.split(",")):
            for seed in range(options.seeds):
                order = np.random.default_rng(seed).permutation(len(features))
                drawn, rest = order[:size], order[size:]
                parquet.write_table(table.take(drawn), folder / "drawn.parquet")
                run = folder / f"run-{size}-{seed}"
                named = [word for task in tasks for word in ("--task", task)]
                subprocess.run(
                    [program, "-q", "train", folder / "drawn.parquet", *named, "--out", run, *more],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                for head in heads(run):
                    found.setdefault((head[0], size), []).append(
                        measured(head, features[rest], cells[head[0]][rest])
                    )
        for (task, size), draws in sorted(found.items()):
            print(row(task, size, draws))


main()
