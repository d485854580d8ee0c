#!/usr/bin/env python3
"""How fast the Python package embeds, beside `frosthead bench embed`, in turns in one process after the other.

    scripts/time-python.py BACKBONE [--texts 3000] [--rounds 5]    with the Python of scripts/test-python.sh's environment

Prints texts/s of every round and the ratios: encode of a list of str, encode of a column of pyarrow, encode_arrow of a
table, each against the program in the same round; and the seconds that `import frosthead` takes, of ten.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from frosthead import Embedder

ROOT = Path(__file__).resolve().parents[1]


def program(arguments: argparse.Namespace) -> float:
    """Texts/s of the program, of one counted pass behind one that is not."""
    command = [
        ROOT / "target/release/frosthead",
        "bench",
        "embed",
        ROOT / "data/demo.csv",
        "--backbone",
        arguments.backbone,
        "--limit",
        str(arguments.texts),
        "--rounds",
        "1",
        "--store-layers",
        "last",
        "--json",
    ]
    environment = os.environ | {"ORT_DYLIB_PATH": str(ROOT / ".downloads/onnxruntime")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)["texts_per_second"]


def importing() -> float:
    code = "import time; start = time.perf_counter(); import frosthead; print(time.perf_counter() - start)"
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/"
        ).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone")
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with open(ROOT / "data/demo.csv", newline="", encoding="utf-8") as source:
        texts = [row["text"] for row in csv.DictReader(source)][: arguments.texts]
    embedder = Embedder(arguments.backbone)
    column, table = pa.array(texts), pa.table({"text": texts})
    ways = {
        "list": lambda: embedder.encode(texts),
        "column": lambda: embedder.encode(column),
        "table": lambda: pa.table(embedder.encode_arrow(table)),
    }
    vectors = embedder.encode(texts)
    assert np.array_equal(vectors, embedder.encode(column))
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.rounds):
        own = program(arguments)
        found = {}
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name] = len(texts) / (time.perf_counter() - start)
            ratios[name].append(found[name] / own)
        print(
            f"round {number + 1}: bench embed {own:.0f} texts/s; "
            + ", ".join(f"{name} {speed:.0f} ({ratios[name][-1]:.3f})" for name, speed in found.items()),
            flush=True,
        )
    for name, each in ratios.items():
        print(
            f"{name}: median {statistics.median(each):.3f} of bench embed's, {min(each):.3f} to {max(each):.3f}"
        )
    seconds = [importing() for _ in range(10)]
    print(
        f"import frosthead: {min(seconds):.4f} to {max(seconds):.4f} s, median {statistics.median(seconds):.4f}"
    )


if __name__ == "__main__":
    main()
