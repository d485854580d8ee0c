#!/usr/bin/env python3
"""What each depth of a network answers, as it is deployed, against the usual recipe: the last layer of the whole network.

usage: depth-table.py FROSTHEAD BACKBONE [--depths 0,2,3,4,6] [--seeds 13-16] [--rows N] [--bundle "--precision int8 …"] [--train "…"]
                      [--own-split] [--cache DIR] [--json FILE] DATA …

DATA is a folder NAME with NAME_train.csv and NAME_test.csv, or one table, a fifth of whose texts is kept for testing, another fifth
with every seed. Every column but `text` is a task. Per seed: heads on the sentence embedding of the whole network in fp32; then per
depth `frosthead train --depth N` (features `auto`), `frosthead bundle`, and the bundle's answers for the test rows. Prints a Markdown
table: accuracy in points (mean over seeds), difference to the usual recipe with its paired standard error (row by row; over the seeds
of one test table, rows are averaged first), size of the bundle.
With --own-split a table is split by `train --seed` itself, and the accuracies are those of `metrics.json` and `precision.json` (without
paired errors).
needs: nothing but the program; features are computed once (`--cache`).
"""

import argparse, json, shlex, subprocess, sys, tempfile
from pathlib import Path

from labelled import difference, mean, numbers_to, split, write


class Program:
    def __init__(self, options, folder):
        self.options, self.folder, self.own = options, folder, None

    def run(self, *words):
        command = [str(word) for word in (self.options.frosthead, "-q", *words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{shlex.join(command)} ended with {done.returncode}")
        return done.stdout

    def train(self, tasks, seed, more):
        out = self.folder / "run"
        words = [word for task in tasks for word in ("--task", task)] + [
            "--seed",
            seed,
            "--overwrite",
            "--out",
            out,
        ]
        words += ["--cache", self.options.cache] if self.options.cache else []
        data = self.own if self.own else self.folder / "train.csv"
        words += [] if self.own else ["--test", self.folder / "test.csv", "--quoting", "double"]
        self.run("train", data, "--backbone", self.options.backbone, *words, *more)
        return out

    def bundle(self, run):
        out = self.folder / "model.frost"
        cache = ["--cache", self.options.cache] if self.options.cache else []
        self.run("bundle", run, "--overwrite", "--out", out, *cache, *shlex.split(self.options.bundle))
        return out

    def right(self, tasks, test, model):
        """Per task: which of the test rows get their label; of the program's own split only how many."""
        if self.own and model.is_dir():
            found = json.loads((model / "metrics.json").read_text())["tasks"]
            return {task: [found[task]["accuracy"]] for task in tasks}
        if self.own:
            found = json.loads((self.folder / "run" / "precision.json").read_text())
            chosen = next(variant for variant in found["variants"] if variant["name"] == found["chosen"])
            return {task: [chosen["tasks"][task]["test_accuracy"]] for task in tasks}
        told = self.run(
            "predict", self.folder / "test.csv", "--quoting", "double", "--model", model
        ).splitlines()
        told = [json.loads(line) for line in told]
        return {
            task: [
                float(line[f"{task}_predicted"] == row[task]) for line, row in zip(told, test, strict=True)
            ]
            for task in tasks
        }


def measure(options, data):
    """Per task and name of a model: rights per seed; and per name the sizes."""
    rights, sizes, tasks = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        program = Program(options, Path(folder))
        for seed in options.seeds:
            training, test = split(data, seed)
            program.own = data if options.own_split and not data.is_dir() else None
            training = training[: options.rows or len(training)]
            tasks = [column for column in training[0] if column != "text"]
            write(program.folder / "train.csv", training)
            write(program.folder / "test.csv", test)
            answers = {"last": program.right(tasks, test, program.train(tasks, seed, ["--features", "last"]))}
            for depth in options.depths:
                more = ["--depth", depth] if depth < options.layers else ["--features", "auto"]
                bundle = program.bundle(program.train(tasks, seed, more + shlex.split(options.train)))
                answers[depth] = program.right(tasks, test, bundle)
                sizes.setdefault(depth, []).append(bundle.stat().st_size)
                print(f"{data.stem}, seed {seed}, depth {depth}", file=sys.stderr, flush=True)
            for name, answer in answers.items():
                for task in tasks:
                    rights.setdefault(task, {}).setdefault(name, []).append(answer[task])
    return rights, sizes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("backbone")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument(
        "--depths", type=lambda text: [int(depth) for depth in text.split(",")], default=[0, 2, 3, 4, 6]
    )
    parser.add_argument("--seeds", type=numbers_to, default=range(13, 17))
    parser.add_argument("--rows", type=int, help="the first so many training rows")
    parser.add_argument("--bundle", default="--precision int8 --max-drop 100", help="options of `bundle`")
    parser.add_argument("--train", default="", help="options of `train` at a depth")
    parser.add_argument("--own-split", action="store_true")
    parser.add_argument("--cache")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.layers = json.loads((Path(options.backbone) / "backbone.json").read_text())["architecture"][
        "config"
    ]["layers"]
    found = []
    print(
        "| set | task | test rows | last of all layers, fp32 | "
        + " | ".join(f"depth {depth}" for depth in options.depths)
        + " |"
    )
    print("|---" * (4 + len(options.depths)) + "|")
    for data in options.data:
        rights, sizes = measure(options, data)
        for task, named in rights.items():
            last = named["last"]
            cells = [f"{100 * mean([mean(seed) for seed in last]):.1f}"]
            for depth in options.depths:
                value, error = difference(list(zip(last, named[depth])), data.is_dir())
                accuracy, size = 100 * mean([mean(seed) for seed in named[depth]]), mean(sizes[depth])
                cells.append(f"{accuracy:.1f} ({value:+.1f} ± {error:.1f}), {size / 1e6:.1f} MB")
                found.append(
                    {
                        "set": data.stem,
                        "task": task,
                        "depth": depth,
                        "accuracy": accuracy,
                        "against last": value,
                        "error": error,
                        "bytes": size,
                    }
                )
            print(f"| {data.stem} | {task} | {len(last[0])} | " + " | ".join(cells) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
