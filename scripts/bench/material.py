"""What is measured on: texts, synthetic features, the model in the forms that the peers read, our own runs and bundles.

Everything comes from what quickstart fetches, or is drawn from a seed. Refuses to leave a half-written file that looks finished.
"""

import csv
import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environments import ROOT, Unavailable

SEED = 13
# Which rows of a run are what, and what the parts are called there.
ROWS, PARTS = "rows.safetensors", ("train", "valid", "test")
JOINED = 16
CALIBRATION_TEXTS = 300


@dataclass
class Split:
    """A labelled table, and which of its rows are learned from, chosen by, and tested on."""

    table: Path
    tasks: list
    # {"train", "valid", "test": rows}
    parts: dict
    # What a run says of it.
    record: bytes

    @classmethod
    def read(cls, table, tasks, run, features):
        """As a run of this table divided it; `features` is the table as `frosthead embed --keep-text` writes it, with the texts' hashes."""
        import pyarrow.parquet as pq
        from safetensors.numpy import load_file

        written = pq.read_table(features, columns=["text_hash", "text", *tasks]).to_pylist()
        rows = [
            ({column: row[column] or "" for column in ("text", *tasks)}, bytes.fromhex(row["text_hash"]))
            for row in written
        ]
        hashes = {part: {bytes(row) for row in rows} for part, rows in load_file(run / ROWS).items()}
        parts = {part: [row for row, key in rows if key in hashes[part]] for part in PARTS}
        return cls(table, tasks, parts, (run / ROWS).read_bytes())

    def file(self, part):
        """The rows of a part as a table beside the whole one."""
        path = self.table.with_name(f"{self.table.stem}-{part}.csv")
        write_table(path, self.parts[part])
        return path


class Material:
    """Files under `folder`, made when they are first asked for."""

    def __init__(self, folder, frosthead, backbone, quick, extra):
        self.folder, self.frosthead, self.backbone = folder, frosthead, Path(backbone)
        self.checkpoint = ROOT / ".downloads/all-MiniLM-L6-v2"
        self.quick, self.extra = quick, extra
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = read_table(ROOT / "data/demo.csv")
        if quick:
            # Spread over the whole table, whose sources follow one another.
            self.rows = self.rows[:: len(self.rows) // 600]

    def texts(self):
        """{name: texts} for extraction: short, long, and each table of `--data`."""
        short_count, long_count = (40, 4) if self.quick else (1000, 100)
        short = [row["text"] for row in self.rows[:: len(self.rows) // short_count]][:short_count]
        sets = {"short texts": short, "long texts": joined(self.rows, long_count)}
        for path in sorted(Path(self.extra).glob("*.csv")) if self.extra else []:
            rows = read_table(path)
            if rows and "text" in rows[0]:
                sets[path.stem] = [row["text"] for row in rows][:short_count]
        return sets

    def labelled(self):
        """The demo rows as two tables without a common text, for training and for testing."""
        paths = self.folder / "train.csv", self.folder / "test.csv"
        parts = [row for place, row in enumerate(self.rows) if place % 5], self.rows[::5]
        for path, rows in zip(paths, parts):
            write_table(path, rows)
        return paths

    def table(self):
        path = self.folder / "demo.csv"
        write_table(path, self.rows)
        return path

    def eighth(self):
        """Every eighth row: enough to time epochs."""
        path = self.folder / "eighth.csv"
        write_table(path, self.rows if self.quick else self.rows[::8])
        return path

    def few(self, shots):
        """`shots` training rows of each sentiment."""
        counts, kept = {}, []
        for row in (row for place, row in enumerate(self.rows) if place % 5):
            counts[row["sentiment"]] = counts.get(row["sentiment"], 0) + 1
            if counts[row["sentiment"]] <= shots:
                kept.append(row)
        path = self.folder / "few.csv"
        write_table(path, kept)
        return path

    def grown(self, count):
        """`count` distinct texts: the demo's, and again with a number behind them."""
        path = self.folder / f"texts-{count}.csv"
        every = [row["text"] for row in self.rows]
        write_table(
            path,
            [
                {
                    "text": every[place % len(every)]
                    + (f" {place // len(every)}" if place >= len(every) else "")
                }
                for place in range(count)
            ],
        )
        return path

    @functools.cache
    def features(self):
        """The demo rows' embeddings with their labels, by `frosthead embed`."""
        path = self.folder / "demo.features.parquet"
        self.run("embed", self.table(), "--backbone", self.backbone, "--out", path, "--overwrite")
        return path

    def synthetic(self, name, rows, classes, hidden=384):
        """Seeded unit vectors around random centres, a label that is wrong for some, as a Parquet of features."""
        path = self.folder / f"{name}.features.parquet"
        if not path.exists():
            import numpy as np
            import pyarrow as pa
            import pyarrow.parquet as pq

            random = np.random.default_rng(SEED)
            centres = random.normal(size=(classes, hidden)).astype(np.float32)
            labels = random.permutation(np.arange(rows) % classes)
            vectors = centres[labels] + 4 * random.normal(size=(rows, hidden)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            wrong = random.random(rows) < 0.05
            labels[wrong] = random.integers(0, classes, wrong.sum())
            embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), hidden).cast(
                pa.list_(pa.float32())
            )
            hashes = [random.bytes(16).hex() for _ in range(rows)]
            table = pa.table(
                {
                    "text_hash": hashes,
                    "label": [f"class-{label:03}" for label in labels],
                    "embedding": embedding,
                }
            )
            with_whole(path, lambda temporary: pq.write_table(table, temporary))
        return path

    def last_hidden_state(self):
        """A folder with `model.onnx` (our own graph up to the last layer, weights inside) and the tokenizer's files: what fastembed reads."""
        folder = self.folder / "last-hidden-state"
        if not (folder / "model.onnx").exists():
            import onnx

            folder.mkdir(exist_ok=True)
            limit = json.loads((self.backbone / "backbone.json").read_text())["preparation"]["max_length"]
            for name in ("config.json", "special_tokens_map.json", "tokenizer.json"):
                shutil.copyfile(self.checkpoint / name, folder / name)
            # The model's own limit, which sentence-transformers keeps in a file of its own.
            settings = json.loads((self.checkpoint / "tokenizer_config.json").read_text())
            (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": limit}))
            model = onnx.load(self.backbone / "embedding.onnx")
            cut_pooling(model)
            with_whole(folder / "model.onnx", lambda temporary: onnx.save_model(model, temporary))
        return folder

    def exported(self, python, backend):
        """A copy of the checkpoint with sentence-transformers' own export to this backend and its 8-bit variant; and the variant's name."""
        folder = self.folder / f"exported-{backend}"
        if backend == "onnx":
            argument = eight_bit_configuration()
            variant = f"model_qint8_{argument}.onnx"
        else:
            argument, variant = self.calibration(), "openvino_model_qint8_quantized.xml"
        if not (folder / backend / variant).exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.checkpoint, folder)
            done = subprocess.run(
                [
                    python,
                    ROOT / "scripts/peers/embed_sentence_transformers.py",
                    "--export",
                    backend,
                    folder,
                    argument,
                ],
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                shutil.rmtree(folder)
                raise Unavailable(f"its export to {backend} failed: {done.stderr[-400:]}")
        return folder, variant

    def distilled(self, python):
        """model2vec's static model of the checkpoint, distilled with its defaults: minutes, once."""
        folder, temporary = self.folder / "distilled", self.folder / "distilled.tmp"
        if not folder.exists():
            shutil.rmtree(temporary, ignore_errors=True)
            done = subprocess.run(
                [python, ROOT / "scripts/peers/label_model2vec.py", "--distill", self.checkpoint, temporary],
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                raise Unavailable(f"its distillation failed: {done.stderr[-400:]}")
            os.replace(temporary, folder)
        return folder

    def calibration(self):
        """A folder with `train.csv`: as many texts, spread over the demo's, as sentence-transformers calibrates on (`OVQuantizationConfig`)."""
        folder = self.folder / "calibration"
        folder.mkdir(exist_ok=True)
        write_table(
            folder / "train.csv", [{"text": row["text"]} for row in spread_over(self.rows, CALIBRATION_TEXTS)]
        )
        return folder

    @functools.cache
    def bundle(self, precision):
        """Our own bundle of heads on the demo rows in this precision, made by the program that is measured."""
        run, bundle = self.folder / "run", self.folder / f"{precision}.frost"
        tasks = ["--task", "domain", "--task", "sentiment"]
        self.run("train", self.table(), "--backbone", self.backbone, *tasks, "--out", run, "--overwrite")
        self.run("bundle", run, "--precision", precision, "--out", bundle, "--overwrite")
        return bundle

    def run(self, *words):
        """Our own program, quietly; its standard output."""
        command = [str(word) for word in (self.frosthead, "-q", *words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench: {' '.join(command)} failed: {done.stderr}")
        return done.stdout

    def split(self, path, rows, tasks):
        """The rows as `frosthead train --seed 13` divides them. They are written to `path`, the table that our own runs read."""
        write_table(path, [{column: row[column] for column in ("text", *tasks)} for row in rows])
        run, features = path.with_suffix(".run"), path.with_suffix(".features.parquet")
        named = [word for task in tasks for word in ("--task", task)]
        self.run("train", path, "--backbone", self.backbone, *named, "--seed", SEED, "--out", run)
        self.run("embed", path, "--backbone", self.backbone, "--keep-text", "--out", features)
        return Split.read(path, tasks, run, features)


def cut_pooling(model):
    """Leaves of an embedding graph what comes before the pooling: its output is `last_hidden_state`."""
    import onnx

    graph = model.graph
    pooled = next(
        node for node in graph.node if any(name.startswith("pooling/pooled") for name in node.output)
    )
    needed, kept = {pooled.input[0]}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:], graph.output[:]
    graph.node.extend(reversed(kept))
    graph.node.append(onnx.helper.make_node("Identity", [pooled.input[0]], ["last_hidden_state"]))
    graph.output.append(
        onnx.helper.make_tensor_value_info(
            "last_hidden_state", onnx.TensorProto.FLOAT, ["rows", "tokens", None]
        )
    )
    unused = [tensor for tensor in graph.initializer if tensor.name not in needed]
    for tensor in unused:
        graph.initializer.remove(tensor)
    del graph.value_info[:]


def eight_bit_configuration():
    """Which of sentence-transformers' 8-bit configurations its documentation names for this processor."""
    flags = Path("/proc/cpuinfo").read_text()
    for flag, configuration in (("avx512_vnni", "avx512_vnni"), ("avx512f", "avx512"), ("avx2", "avx2")):
        if flag in flags:
            return configuration
    return "arm64"


def joined(rows, count):
    """Texts of 16 consecutive sentences of one source, spread over the sources."""
    by_source = {}
    for row in rows:
        by_source.setdefault(row["domain"], []).append(row["text"])
    groups = [
        " ".join(texts[first : first + JOINED])
        for texts in by_source.values()
        for first in range(0, len(texts) - JOINED + 1, JOINED)
    ]
    return groups[:: max(1, len(groups) // count)][:count]


def spread_over(rows, count):
    """At most `count` of the rows, at equal distances: sources follow one another."""
    return rows[:: max(1, -(-len(rows) // count))]


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path, rows):
    def write(temporary):
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    with_whole(path, write)


def with_whole(path, write):
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    os.replace(temporary, path)
