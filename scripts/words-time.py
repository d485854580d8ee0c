#!/usr/bin/env python3
"""What fitting words takes beside the head on features, and of many rows: seconds of `fit.json`, and of the whole process.

usage: words-time.py FROSTHEAD BACKBONE TABLE [--tasks A,B] [--rows 200000] [--rounds 3] [--cache DIR]

TABLE has a column `text`. Prints medians over the rounds, in turns, of `train --features last`, `last+words` and `words` on the table, then
one fit of words on so many rows made of it: each is two texts, one behind the other, with the labels of the first; for that the peak
memory of the process is printed, too. needs: nothing but the program; nothing else should run.
"""

import argparse, json, os, random, statistics, subprocess, sys, tempfile, time
from pathlib import Path

from labelled import read, write


def train(options, table, run, features):
    """Seconds of the fits on features, of those of words (the choice of penalty and mix included), of the process, and its peak MiB."""
    named = [word for task in options.tasks for word in ("--task", task)]
    command = [
        options.frosthead,
        "-q",
        "train",
        table,
        "--quoting",
        "double",
        "--backbone",
        options.backbone,
        *named,
        *features,
        "--overwrite",
        "--out",
        run,
        *(["--cache", options.cache] if options.cache else []),
    ]
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    fits = json.loads((run / "fit.json").read_text())
    of_words = sum((fit.get("words") or {"seconds": 0})["seconds"] for fit in fits)
    return sum(fit["seconds"] for fit in fits), of_words, time.perf_counter() - start, used.ru_maxrss / 1024


def longer(rows, count):
    """So many different rows, each two texts of the table."""
    drawn, made, texts = random.Random(13), [], set()
    while len(made) < count:
        one, other = drawn.choice(rows), drawn.choice(rows)
        text = f"{one['text']} {other['text']}"
        if text not in texts:
            texts.add(text)
            made.append(one | {"text": text})
    return made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("backbone")
    parser.add_argument("table", type=Path)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=["domain", "sentiment"])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, found = Path(folder, "run"), {}
        for turn in range(options.rounds + 1):
            for features in ("last", "last+words", "words"):
                took = train(options, options.table, run, ["--features", features])
                if turn:
                    found.setdefault(features, []).append(took)
        for features, took in found.items():
            fits, words, whole, peak = (statistics.median(column) for column in zip(*took))
            print(
                f"{options.table.name}, {features}: fits {fits:.2f} s, words {words:.2f} s, process {whole:.1f} s, peak {peak:.0f} MiB",
                flush=True,
            )
        # Of a head on the network alone the words are the difference.
        many = Path(folder, "many.csv")
        write(many, longer(read(options.table), options.rows))
        _, words, whole, peak = train(
            options, many, run, ["--features", "words", "--valid-fraction", "0", "--test-fraction", "0"]
        )
        print(
            f"{options.rows:,} rows, {len(options.tasks)} tasks: words {words:.1f} s, process {whole:.1f} s, peak {peak:.0f} MiB"
        )


if __name__ == "__main__":
    main()
