#!/usr/bin/env python3
"""Which penalty for which data: `--alpha auto` and every fixed alpha of its grid, on rows that were not trained on.

usage: alpha-table.py FROSTHEAD BACKBONE [--features last] [--rows 200,1000,all] [--seeds 3] [--cache DIR] DATA …

DATA is a folder NAME with NAME_train.csv and NAME_test.csv, or one table (a fifth of its texts is kept for testing). Every column
but `text` is a task. Draws so many training rows (the first seed's draw is the only one of all rows), trains heads on them by the
program, once per alpha and once with `auto`, and prints a Markdown table of the accuracies on the test rows (means over seeds),
what `auto` chose, and, against the one fixed alpha that is best on average: the mean and the worst difference of every column.
needs: nothing but the program and its features, which it computes once (`--cache`).
"""

import argparse, json, random, subprocess, sys, tempfile, zlib
from pathlib import Path

from labelled import read, write

GRID = ["3000", "1000", "300", "100", "30", "10", "3", "1", "0.3", "0.1"]


def split(data):
    """Name, training and test rows."""
    if data.is_dir():
        return data.name, read(data / f"{data.name}_train.csv"), read(data / f"{data.name}_test.csv")
    sides = ([], [])
    for row in read(data):
        sides[zlib.crc32(row["text"].encode()) % 5 == 0].append(row)
    return data.stem, *sides


class Trainer:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder

    def accuracies(self, tasks, alpha):
        """Per task: accuracy in points, and the alpha of its head."""
        out, options = self.folder / "run", self.options
        command = [
            options.frosthead,
            "-q",
            "train",
            self.folder / "train.csv",
            "--backbone",
            options.backbone,
            "--test",
            self.folder / "test.csv",
            "--valid-fraction",
            "0",
            "--quoting",
            "double",
            "--features",
            options.features,
            "--alpha",
            alpha,
            "--overwrite",
            "--json",
            "--out",
            out,
        ]
        command += [word for task in tasks for word in ("--task", task)] + (
            ["--cache", options.cache] if options.cache else []
        )
        run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        if run.returncode:
            sys.exit(f"frosthead train ended with {run.returncode}")
        metrics = json.loads(run.stdout)["tasks"]
        chosen = {fit["task"]: fit["alpha"] for fit in json.loads((out / "fit.json").read_text())}
        return {task: (100 * metrics[task]["accuracy"], chosen[task]) for task in tasks}


def mean(numbers):
    return sum(numbers) / len(numbers)


def measure(options):
    """One cell per set, task and number of rows: its name, accuracy per column, hindsight, what `auto` chose."""
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(options, Path(folder))
        for data in options.data:
            name, training, test = split(data)
            tasks = [column for column in training[0] if column != "text"]
            write(trainer.folder / "test.csv", test)
            for rows in options.rows.split(","):
                draws = []
                for seed in range(1 if rows == "all" else options.seeds):
                    drawn = training if rows == "all" else random.Random(seed).sample(training, int(rows))
                    write(trainer.folder / "train.csv", drawn)
                    draws.append({alpha: trainer.accuracies(tasks, alpha) for alpha in GRID + ["auto"]})
                    print(f"{name}, {len(drawn)} rows, draw {seed}", file=sys.stderr, flush=True)
                for task in tasks:
                    columns = {
                        alpha: mean([draw[alpha][task][0] for draw in draws]) for alpha in GRID + ["auto"]
                    }
                    hindsight = mean([max(draw[alpha][task][0] for alpha in GRID) for draw in draws])
                    chosen = [f"{draw['auto'][task][1]:g}" for draw in draws]
                    cells.append((f"{name} {task}, {rows}", columns, hindsight, chosen))
    return cells


def table(cells):
    """The cells as lines of Markdown, and how every column does against the best fixed alpha."""
    columns = GRID + ["auto"]
    means = {column: mean([cell[1][column] for cell in cells]) for column in columns}
    best = max(GRID, key=means.get)
    difference = {column: [cell[1][column] - cell[1][best] for cell in cells] for column in columns}
    numbers = lambda values, form: " | ".join(form.format(values[column]) for column in columns)
    yield f"| set, task, training rows | {' | '.join(columns)} | best in hindsight | auto chose |"
    yield "|---" * (len(columns) + 3) + "|"
    for name, of_cell, hindsight, chosen in cells:
        yield f"| {name} | {numbers(of_cell, '{:.1f}')} | {hindsight:.1f} | {', '.join(chosen)} |"
    yield f"| mean | {numbers(means, '{:.2f}')} | {mean([cell[2] for cell in cells]):.2f} | |"
    yield f"| mean against {best} | {numbers({column: mean(difference[column]) for column in columns}, '{:+.2f}')} | | |"
    yield f"| worst against {best} | {numbers({column: min(difference[column]) for column in columns}, '{:+.1f}')} | | |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("backbone")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--features", default="last")
    parser.add_argument("--rows", default="200,1000,all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache")
    print("\n".join(table(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
