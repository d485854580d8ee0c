#!/usr/bin/env python3
"""What words add to the states of a network, on test rows: `train --features auto` against `auto-words`, and depth 0 with words against
the usual recipe (the last layer of the whole network).

usage: words-table.py FROSTHEAD BACKBONE [--seeds 13-16] [--rows N] [--cache DIR] [--json FILE] DATA …

DATA is a folder NAME with NAME_train.csv and NAME_test.csv, or one table, a fifth of whose texts is kept for testing, another fifth with
every seed. Every column but `text` is a task. Each cell: accuracy in points, mean over the seeds; behind `auto` its distance to
`auto-words`, behind the others theirs to the usual recipe, with the paired standard error (row by row; over the seeds of one test table,
rows are averaged first). Heads are measured as they are in the run, in fp32. Also: seconds that all heads took to be fitted.
needs: nothing but the program; features are computed once (`--cache`).
"""

import argparse, json, shlex, subprocess, sys, tempfile
from pathlib import Path

from labelled import difference, mean, numbers_to, read, split, spread, write

ARMS = {
    "last": ["--features", "last"],
    "auto without words": ["--features", "auto-words"],
    "auto": ["--features", "auto"],
    "depth 0 without words": ["--depth", 0, "--features", "auto-words"],
    "depth 0": ["--depth", 0, "--features", "auto"],
    "depth 3": ["--depth", 3, "--features", "auto"],
    "words": ["--features", "words"],
}
# What each arm is compared with.
AGAINST = {"auto": "auto without words"}


def run(options, *words):
    command = [str(word) for word in (options.frosthead, "-q", *words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} ended with {done.returncode}")
    return done.stdout


def right(options, folder, tasks, test, seed, more):
    """Per task: which of the test rows get their label; and the seconds of the fits."""
    named = [word for task in tasks for word in ("--task", task)]
    cache = ["--cache", options.cache] if options.cache else []
    run(
        options,
        "train",
        folder / "train.csv",
        "--test",
        folder / "test.csv",
        "--quoting",
        "double",
        "--backbone",
        options.backbone,
        *named,
        "--seed",
        seed,
        "--overwrite",
        "--out",
        folder / "run",
        *cache,
        *more,
    )
    run(
        options,
        "eval",
        folder / "test.csv",
        "--quoting",
        "double",
        "--model",
        folder / "run",
        "--rows",
        "all",
        "--errors",
        folder / "errors.csv",
        *cache,
    )
    wrong = {(row["task"], int(row["row"])) for row in read(folder / "errors.csv")}
    fits = json.loads((folder / "run/fit.json").read_text())
    words = {fit["task"]: bool((fit.get("words") or {}).get("used")) for fit in fits}
    return (
        {task: [float((task, row) not in wrong) for row in range(1, len(test) + 1)] for task in tasks},
        sum(fit["seconds"] for fit in fits),
        words,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("backbone")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--seeds", type=numbers_to, default=range(13, 17))
    parser.add_argument("--rows", type=int, help="so many training rows, evenly spread over the table")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--cache")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    print("| set | task | test rows | " + " | ".join(options.arms) + " |")
    print("|---" * (3 + len(options.arms)) + "|")
    for data in options.data:
        rights, seconds, used = {}, {}, {}
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            for seed in options.seeds:
                training, test = split(data, seed)
                training = spread(training, options.rows or len(training))
                tasks = [column for column in training[0] if column != "text"]
                write(folder / "train.csv", training)
                write(folder / "test.csv", test)
                for arm in options.arms:
                    answers, took, words = right(options, folder, tasks, test, seed, ARMS[arm])
                    seconds.setdefault(arm, []).append(took)
                    for task in tasks:
                        rights.setdefault(task, {}).setdefault(arm, []).append(answers[task])
                        used.setdefault((task, arm), []).append(words[task])
                    print(f"{data.stem}, seed {seed}, {arm}", file=sys.stderr, flush=True)
        for task, named in rights.items():
            cells = []
            for arm in options.arms:
                against = AGAINST.get(arm, "last")
                accuracy = 100 * mean([mean(seed) for seed in named[arm]])
                value, error = (
                    difference(list(zip(named[against], named[arm])), data.is_dir())
                    if against in named
                    else (0, 0)
                )
                cells.append(f"{accuracy:.1f}" + ("" if arm == against else f" ({value:+.1f} ± {error:.1f})"))
                found.append(
                    {
                        "set": data.stem,
                        "task": task,
                        "arm": arm,
                        "accuracy": accuracy,
                        "against": against,
                        "difference": value,
                        "error": error,
                        "words used": sum(used[task, arm]),
                        "seconds": mean(seconds[arm]),
                    }
                )
            print(
                f"| {data.stem} | {task} | {len(named[options.arms[0]][0])} | " + " | ".join(cells) + " |",
                flush=True,
            )
        print(
            "fits, seconds: " + ", ".join(f"{arm} {mean(took):.1f}" for arm, took in seconds.items()),
            file=sys.stderr,
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
