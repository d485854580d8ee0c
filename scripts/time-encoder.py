#!/usr/bin/env python3
"""Times an encoder in turns: our program in fp32 and in other bundles of the same encoder, and sentence-transformers (PyTorch, fp32).

usage: time-encoder.py FROSTHEAD CHECKPOINT BACKBONE TABLE [--bundle FILE]… [--texts 500] [--rounds 3] [--threads N]

CHECKPOINT is the folder that sentence-transformers reads, BACKBONE what `frosthead import` made of it; bundles need `--keep-embedding`.
Texts are evenly spread over TABLE (its column `text`). Prints medians with the least and the most, and the ratio to
sentence-transformers at its fastest batch size; of our fp32 also the peak memory of a process that embeds the texts with one session.
Nothing else should run. needs: sentence-transformers, set up by scripts/bench/environments.py.
"""

import argparse, json, os, statistics, subprocess, sys, tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from environments import Environments
from labelled import read, spread, write
from turns import Skips, Worker, take_turns

BATCHES = (8, 32, 128)


def ours(options, backbone, table):
    """Texts per second of one pass."""
    layers = ["--store-layers", "last"] if Path(backbone).is_dir() else []
    command = [
        options.frosthead,
        "-q",
        "bench",
        "embed",
        table,
        "--backbone",
        backbone,
        *layers,
        "--rounds",
        1,
        "--json",
        "--threads",
        options.threads,
    ]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return json.loads(done.stdout)


def peak(options, table, folder):
    """Peak MiB of a process with one session."""
    command = [
        options.frosthead,
        "-q",
        "embed",
        table,
        "--backbone",
        options.backbone,
        "--cache",
        folder / "cache",
        "--store-layers",
        "last",
        "--threads",
        1,
        "--out",
        folder / "features.parquet",
    ]
    process = subprocess.Popen([str(word) for word in command])
    _, status, used = os.wait4(process.pid, 0)
    return used.ru_maxrss / 1024 if status == 0 else sys.exit(f"{' '.join(map(str, command))} failed")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("frosthead", "checkpoint", "backbone", "table"):
        parser.add_argument(name)
    parser.add_argument("--bundle", action="append", default=[])
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = [{"text": row["text"]} for row in spread(read(options.table), options.texts)]
        write(folder / "texts.csv", rows)
        (folder / "texts.json").write_text(json.dumps([row["text"] for row in rows]), encoding="utf-8")
        python = Environments(large=True).python("sentence-transformers")
        arguments = {"model": options.checkpoint, "threads": options.threads, "backend": "torch"}
        theirs = Worker(
            [python, Path(__file__).parent / "peers/embed_sentence_transformers.py", json.dumps(arguments)]
        )
        theirs.ask("texts", str(folder / "texts.json"))
        batch = min(
            BATCHES,
            key=lambda size: min(theirs.ask("pass", {"batch_size": size})["seconds"] for _ in range(2)),
        )
        seconds = lambda backbone: (
            len(rows) / ours(options, backbone, folder / "texts.csv")["texts_per_second"]
        )
        measures = {
            f"sentence-transformers, batches of {batch}": lambda: theirs.ask("pass", {"batch_size": batch})[
                "seconds"
            ],
            "frosthead fp32": lambda: seconds(options.backbone),
        }
        measures |= {
            f"frosthead {Path(bundle).name}": lambda bundle=bundle: seconds(bundle)
            for bundle in options.bundle
        }
        took = take_turns(measures, options.rounds, Skips())
        theirs.stop()
        first = statistics.median(next(iter(took.values())))
        for name, rounds in took.items():
            middle = statistics.median(rounds)
            print(
                f"{name}: {len(rows) / middle:.1f} texts/s ({len(rows) / max(rounds):.1f}-{len(rows) / min(rounds):.1f}), {first / middle:.2f} times the first"
            )
        print(
            f"peak of embedding with one session: {peak(options, folder / 'texts.csv', folder):.0f} MiB; weights "
            f"{Path(options.checkpoint, 'model.safetensors').stat().st_size / 2**20:.0f} MiB"
        )


if __name__ == "__main__":
    main()
