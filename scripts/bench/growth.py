"""The job "growth": how our own costs grow: extraction and its memory with texts, fits with rows, epochs with trained layers.

Refuses to call a growth linear without showing the fitted line and how far it is off.
"""

import json
import shutil

from single import launch

# Seconds below which a measurement is repeated.
SHORT = 10


def measure(bench):
    print("bench: growth", flush=True)
    for name, grow in (("extraction", texts), ("head fit", rows), ("epoch", layers)):
        if bench.wants(name):
            yield grow(bench)


def texts(bench):
    """`frosthead embed` into an empty store, whole process, by the number of tokens."""
    counts = (1, 250, 1000) if bench.quick else (1, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
    store, out, points = bench.material.folder / "growth-store", bench.material.folder / "growth.parquet", []
    for count in counts:
        table = bench.material.grown(count)
        command = [
            "-q",
            "embed",
            table,
            "--backbone",
            bench.material.backbone,
            "--cache",
            store,
            "--out",
            out,
        ]
        command = [bench.frosthead, *command, "--overwrite", "--threads", bench.threads]

        def whole_process():
            shutil.rmtree(store, ignore_errors=True)
            return launch(command, "")

        launched = in_the_middle(whole_process)
        points.append(
            {
                "x": tokens(bench, table),
                "texts": count,
                "seconds": launched["seconds"],
                "peak_rss_bytes": launched["peak_rss_bytes"],
            }
        )
        table.unlink()
        print(
            f"bench:   {count} texts: {launched['seconds']:.1f} s, {launched['peak_rss_bytes'] / 1e6:.0f} MB",
            flush=True,
        )
    shutil.rmtree(store)
    out.unlink()
    return grown("extraction", "tokens", points)


def tokens(bench, table):
    """Tokens of a table, counted by the tokenizer that every contestant reads."""
    from tokenizers import Tokenizer

    from material import read_table

    tokenizer = Tokenizer.from_file(str(bench.material.backbone / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return sum(
        len(encoded.ids)
        for encoded in tokenizer.encode_batch_fast([row["text"] for row in read_table(table)])
    )


def rows(bench):
    """One head's fit by the number of rows, 384 numbers, 10 classes."""
    counts = (1000, 2000, 4000) if bench.quick else (3_000, 10_000, 25_000, 50_000, 100_000, 200_000)
    run, points = bench.material.folder / "growth-run", []
    for count in counts:
        features = bench.material.synthetic(f"10-classes-{count}-rows", count, 10)
        options = ["--task", "label", "--out", run, "--overwrite", "--threads", bench.threads]

        def fit():
            bench.material.run("train", features, *options)
            return json.loads((run / "fit.json").read_text())[0]

        fitted = in_the_middle(fit)
        points.append({"x": fitted["rows"], "seconds": fitted["seconds"]})
    return grown("head fit", "rows", points)


def layers(bench):
    """An epoch by the number of trained top layers, on an eighth of the demo rows."""
    table, run, points = bench.material.eighth(), bench.material.folder / "growth-run", []
    for top, frozen in (
        (1, "backbone:0-4"),
        (2, "backbone:0-3"),
        (3, "backbone:0-2"),
        (6, "backbone:embeddings"),
    ):
        bench.material.run(
            "train",
            table,
            "--backbone",
            bench.material.backbone,
            "--task",
            "domain",
            "--task",
            "sentiment",
            "--freeze",
            frozen,
            "--epochs",
            2,
            "--patience",
            2,
            "--out",
            run,
            "--overwrite",
            "--threads",
            bench.threads,
        )
        epochs = json.loads((run / "training.json").read_text())[0]["epochs"][1:]
        points.append({"x": top, "seconds": min(epoch["seconds"] for epoch in epochs)})
    return grown("epoch", "trained layers", points)


def in_the_middle(measure):
    """What `measure()` gives; of what is short, and so at the mercy of what else the machine does, the middle of five."""
    first = measure()
    if first["seconds"] > SHORT:
        return first
    return sorted([first, *(measure() for _ in range(4))], key=lambda found: found["seconds"])[2]


def grown(what, x, points):
    return {
        "job": "growth",
        "set": what,
        "x": x,
        "points": points,
    }
