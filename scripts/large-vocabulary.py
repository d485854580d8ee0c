#!/usr/bin/env python3
"""What a large vocabulary costs where it is most of the model: a BERT of all-MiniLM-L6-v2's size with random weights and the real
Unigram vocabulary of multilingual-e5-small (250,002 pieces).

usage: large-vocabulary.py FROSTHEAD DATA.csv --task COLUMN [--tokenizer .downloads/multilingual-e5-small/tokenizer.json] [--rows 20000]
                           [--rounds 15] [--cache DIR] [--before FROSTHEAD]

Makes the checkpoint, imports it, trains heads on the first rows, bundles them in int8 whole and with `--vocabulary used`, and prints
the sizes and, in turns, of a whole process that labels one text the median time, the median processor time (user and system, of all
threads), and the peak of its memory. With --before another program bundles the same run and answers from its own bundle, in the same
turns: one that knows no compact tokenizers reads tokenizer.json as it is. The peak above that of `used`, whose tokenizer is small, is
what the tokenizer takes. Answers mean nothing here: the weights are random.
needs: numpy, and the program; tokenizers of scripts/setup.sh (`setup_tokenizers`).
"""

import argparse, csv, json, multiprocessing, os, shutil, statistics, struct, subprocess, sys, tempfile, time
from pathlib import Path

import numpy

HIDDEN, LAYERS, INNER, POSITIONS = 384, 6, 1536, 512


def tensors(words):
    """Names and shapes of a BERT without its pooler."""
    yield "embeddings.word_embeddings.weight", (words, HIDDEN)
    yield "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)
    yield "embeddings.token_type_embeddings.weight", (2, HIDDEN)
    yield "embeddings.LayerNorm.weight", (HIDDEN,)
    yield "embeddings.LayerNorm.bias", (HIDDEN,)
    products = {
        "attention.self.query": (HIDDEN, HIDDEN),
        "attention.self.key": (HIDDEN, HIDDEN),
        "attention.self.value": (HIDDEN, HIDDEN),
        "attention.output.dense": (HIDDEN, HIDDEN),
        "intermediate.dense": (INNER, HIDDEN),
        "output.dense": (HIDDEN, INNER),
    }
    for layer in range(LAYERS):
        for name, shape in products.items():
            yield f"encoder.layer.{layer}.{name}.weight", shape
            yield f"encoder.layer.{layer}.{name}.bias", shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            yield f"encoder.layer.{layer}.{name}.weight", (HIDDEN,)
            yield f"encoder.layer.{layer}.{name}.bias", (HIDDEN,)


def write_checkpoint(folder, tokenizer):
    """A safetensors file as transformers writes it, config and tokenizer."""
    described = json.loads(tokenizer.read_text())
    pieces = [id for id in range(len(described["model"]["vocab"]))] + [
        token["id"] for token in described["added_tokens"]
    ]
    words, draw = max(pieces) + 1, numpy.random.default_rng(13)
    header, offset, shapes = {}, 0, list(tensors(words))
    for name, shape in shapes:
        length = 4 * int(numpy.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    head = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for name, shape in shapes:
            numbers = (
                draw.normal(0, 0.05, shape) if not name.endswith("LayerNorm.weight") else numpy.ones(shape)
            )
            out.write(numbers.astype("<f4").tobytes())
    padding = next((token["id"] for token in described["added_tokens"] if token["content"] == "<pad>"), 0)
    config = {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 12,
        "intermediate_size": INNER,
        "vocab_size": words,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": padding,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return words


def measured(command):
    """Seconds, processor seconds and peak bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", required=True)
    parser.add_argument(
        "--tokenizer", type=Path, default=Path(".downloads/multilingual-e5-small/tokenizer.json")
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache")
    parser.add_argument("--before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)

        def run(*words, program=options.frosthead):
            command = [program, "-q", *map(str, words)]
            if subprocess.run(command, stdout=subprocess.PIPE).returncode:
                sys.exit(f"{' '.join(command)} failed")

        (folder / "checkpoint").mkdir()
        # Apart: a program starts with the peak of whoever starts it.
        with multiprocessing.Pool(1) as apart:
            words = apart.apply(write_checkpoint, (folder / "checkpoint", options.tokenizer))
        with (
            open(options.data, newline="", encoding="utf-8") as source,
            open(folder / "data.csv", "w", newline="", encoding="utf-8") as target,
        ):
            reader, writer = csv.reader(source), csv.writer(target)
            for row, _ in zip(reader, range(options.rows + 1)):
                writer.writerow(row)
        cache = ["--cache", options.cache or folder / "cache"]
        run("import", folder / "checkpoint", "--out", folder / "backbone")
        run(
            "train",
            folder / "data.csv",
            "--backbone",
            folder / "backbone",
            "--task",
            options.task,
            "--out",
            folder / "run",
            "--features",
            "last",
            "--alpha",
            "100",
            *cache,
        )
        bundles = {"whole": (options.frosthead, []), "used": (options.frosthead, ["--vocabulary", "used"])}
        if options.before:
            bundles["before"] = (options.before, [])
        for name, (program, more) in bundles.items():
            run(
                "bundle",
                folder / "run",
                "--out",
                folder / f"{name}.frost",
                "--precision",
                "int8",
                "--max-drop",
                "100",
                *more,
                *cache,
                program=program,
            )
        (folder / "one.txt").write_text("The battery died after two days, and nobody answers my mails.\n")
        found = {name: [] for name in bundles}
        for _ in range(options.rounds):
            for name, (program, _) in bundles.items():
                model = folder / f"{name}.frost"
                found[name].append(
                    measured(
                        [program, "-q", "predict", folder / "one.txt", "--format", "lines", "--model", model]
                    )
                )
        sizes = {name: (folder / f"{name}.frost").stat().st_size for name in bundles}
        print(f"{words:,} pieces, {options.rows:,} rows, int8")
        for name in bundles:
            share = 100 * sizes[name] / sizes["whole"]
            (median, busy, peak), seconds = (
                map(statistics.median, zip(*found[name])),
                [one for one, _, _ in found[name]],
            )
            print(
                f"{name:6} {sizes[name] / 1e6:7.1f} MB ({share:.0f} %)  {median:.3f} s from start to the answer "
                f"({min(seconds):.3f}-{max(seconds):.3f}), {busy:.3f} s of processor time, {peak / 1e6:.1f} MB at its peak"
            )


if __name__ == "__main__":
    main()
