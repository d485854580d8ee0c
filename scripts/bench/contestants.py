"""Who embeds texts: our own program and its peers, each with its defaults, the settings that a small sweep tries, and its size.

Refuses to tune one contestant more than another: a handful of settings each, all of them the contestant's own options.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import machine
from environments import HOME, ROOT, Unavailable, installed_bytes, tree_bytes
from material import write_table
from turns import Worker

PEERS = ROOT / "scripts/peers"
BATCHES = [{"batch_size": size} for size in (1, 4, 8, 16, 32, 64)]
BUDGETS = (256, 512, 1024, 2048)


@dataclass
class Contestant:
    name: str
    # What it does when it is told nothing, in words, and as settings of a pass.
    default: dict
    candidates: list
    # Something that answers `texts`, `pass`, `save` and `singles`.
    start: Callable
    # The command that embeds one text and ends, and what it reads on standard input.
    once: Callable
    # {what: bytes} of everything that has to be installed.
    sizes: Callable
    # What it computes in, where the processor has it: fp32, bf16, int8.
    precision: str = "fp32"


class Ours:
    """Our own program, asked like a peer; every question is a process of its own, as `bench` measures inside it."""

    def __init__(self, material, backbone, bundle, threads):
        self.material, self.backbone, self.bundle = material, backbone, bundle
        self.threads = ["--threads", str(threads)]
        self.table = self.texts = None
        self.command = []
        # Share of the machine's fp32 peak in each pass, by the settings of the pass.
        self.shares = {}

    def ask(self, command, value):
        return {"texts": self._texts, "pass": self._pass, "save": self._save, "singles": self._singles}[
            command
        ](value)

    def stop(self):
        pass

    def _texts(self, path):
        self.texts = json.loads(Path(path).read_text(encoding="utf-8"))
        self.table = Path(path).with_suffix(".csv")
        write_table(self.table, [{"text": text} for text in self.texts])
        return {"texts": len(self.texts)}

    def _pass(self, settings):
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        words = [
            "bench",
            "embed",
            self.table,
            "--backbone",
            self.backbone,
            "--rounds",
            1,
            "--json",
            *self.threads,
            *words,
        ]
        self.command = ["frosthead", *map(str, words)]
        figures = json.loads(self.material.run(*words))
        self.shares.setdefault(str(settings), []).append(figures["share_of_peak"])
        return {"seconds": figures["seconds"][0]}

    def _save(self, request):
        import numpy as np
        import pyarrow.parquet as pq

        out = Path(request["path"]).with_suffix(".parquet")
        self.material.run(
            "embed", self.table, "--backbone", self.backbone, "--out", out, "--overwrite", *self.threads
        )
        np.array(pq.read_table(out)["embedding"].to_pylist(), dtype="<f4").tofile(request["path"])
        return {"texts": len(self.texts)}

    def _singles(self, count):
        output = self.material.run(
            "bench",
            "latency",
            self.table,
            "--model",
            self.bundle,
            "--limit",
            count,
            "--rounds",
            1,
            "--json",
            *self.threads,
        )
        return {"milliseconds": json.loads(output)["milliseconds"]}


def ours(bench):
    """Our own program in fp32 and in 8 bits."""
    for precision in ("fp32", "int8"):
        bundle = bench.material.bundle(precision)
        # A bundle's graph gives no more than the embedding anyway.
        backbone, last = (
            (bench.material.backbone, {"store-layers": "last"}) if precision == "fp32" else (bundle, {})
        )
        yield Contestant(
            name=f"frosthead {precision}",
            default={},
            candidates=[{"token-budget": budget} | last for budget in BUDGETS],
            start=lambda backbone=backbone, bundle=bundle: Ours(
                bench.material, backbone, bundle, bench.threads
            ),
            once=lambda text, bundle=bundle: (
                [
                    bench.edge,
                    "-q",
                    "predict",
                    "-",
                    "--format",
                    "lines",
                    "--model",
                    bundle,
                    "--threads",
                    bench.threads,
                ],
                text + "\n",
            ),
            sizes=lambda bundle=bundle: {
                # What a device gets.
                "edge program": bench.edge.stat().st_size,
                "ONNX Runtime": bench.runtime.stat().st_size,
                "model": bundle.stat().st_size,
            },
            precision=precision,
        )


def peer(bench, name, environment, script, default, candidates, options, model, precision="fp32"):
    """A peer in Python. `options` and `model` are functions, since what they name may have to be made first."""

    def command(*words):
        python = bench.environments.python(environment)
        return [python, PEERS / script, json.dumps(options() | {"threads": bench.threads}), *words]

    def sizes():
        parts = installed_bytes(environment)
        packages = parts["all"]["bytes"] - parts["ours"]["bytes"] - parts["cuda"]["bytes"]
        found = {"packages": packages, "model": model()}
        return found | (
            {"CUDA packages (not counted)": parts["cuda"]["bytes"]} if parts["cuda"]["bytes"] else {}
        )

    return Contestant(
        name,
        default,
        candidates,
        lambda: Worker(command()),
        lambda text: (command(text), ""),
        sizes,
        precision,
    )


@dataclass
class Encoder:
    """sentence-transformers in one of its forms. `options` and `model` (bytes) are functions, since what they name may have to be made first."""

    name: str
    environment: str
    options: Callable
    model: Callable
    precision: str


def encoders(bench):
    """sentence-transformers as it comes, and in the forms that its documentation has for processors."""
    checkpoint = bench.material.checkpoint
    plain = lambda: {"model": str(checkpoint), "backend": "torch"}
    for name, precision, options in (
        ("torch", "fp32", plain),
        ("torch bf16", "bf16", lambda: plain() | bf16(machine.instructions())),
    ):
        yield Encoder(
            f"sentence-transformers, {name}",
            "sentence-transformers",
            options,
            lambda: tree_bytes(checkpoint),
            precision,
        )
    # OpenVINO as it comes computes in bf16 where the processor can.
    forms = (
        ("onnx", "onnx", "fp32", {}),
        ("onnx int8", "onnx", "int8", {}),
        ("OpenVINO", "openvino", "bf16", {}),
        ("OpenVINO fp32", "openvino", "fp32", {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}),
        ("OpenVINO int8", "openvino", "int8", {}),
    )
    for name, backend, precision, settings in forms:
        yield exported(bench, f"sentence-transformers, {name}", backend, precision, settings)


def bf16(instructions):
    """PyTorch's option. Refuses a processor without bf16: PyTorch computes it there all the same, many times slower than fp32."""
    if not any(instruction.endswith("bf16") for instruction in instructions):
        raise Unavailable("this processor has no bf16")
    return {"dtype": "bfloat16"}


def exported(bench, name, backend, precision, settings):
    environment, whole = (
        f"sentence-transformers-{backend}",
        {"onnx": "model.onnx", "openvino": "openvino_model.xml"}[backend],
    )

    def graph():
        folder, variant = bench.material.exported(bench.environments.python(environment), backend)
        return folder, variant if precision == "int8" else whole

    def options():
        folder, file = graph()
        return {"model": str(folder), "backend": backend, "file": file} | settings

    def model():
        folder, file = graph()
        # OpenVINO's weights lie in a file beside the graph.
        return sum(path.stat().st_size for path in (folder / backend).glob(f"{Path(file).stem}.*"))

    return Encoder(name, environment, options, model, precision)


def peers(bench):
    """The peers that embed texts."""
    material = bench.material
    for encoder in encoders(bench):
        yield peer(
            bench,
            encoder.name,
            encoder.environment,
            "embed_sentence_transformers.py",
            {},
            BATCHES,
            encoder.options,
            encoder.model,
            encoder.precision,
        )
    hidden = lambda: {"model": str(material.last_hidden_state())}
    hidden_bytes = lambda: tree_bytes(material.last_hidden_state())
    parallel = [{"batch_size": size, "parallel": bench.threads} for size in (1, 8)]
    yield peer(
        bench,
        "fastembed (Python)",
        "fastembed",
        "embed_fastembed.py",
        {},
        BATCHES + parallel,
        hidden,
        hidden_bytes,
    )
    yield fastembed_rs(bench, hidden, hidden_bytes)
    backbone = lambda: {"model": str(material.backbone)}
    backbone_bytes = lambda: sum(
        (material.backbone / name).stat().st_size
        for name in ("embedding.onnx", "model.safetensors", "tokenizer.json")
    )
    batches = bench.batches()
    budgets = [batches | {"token_budget": budget} for budget in BUDGETS]
    yield peer(
        bench, "plain loop", "plain-loop", "embed_plain_loop.py", {}, BATCHES, backbone, backbone_bytes
    )
    yield peer(
        bench,
        "plain loop, our batches",
        "plain-loop",
        "embed_plain_loop.py",
        batches,
        budgets,
        backbone,
        backbone_bytes,
    )


def fastembed_rs(bench, options, model):
    def command(*words):
        return [
            bench.environments.rust("fastembed-rs"),
            json.dumps(options() | {"threads": bench.threads}),
            *words,
        ]

    def sizes():
        program = HOME / "fastembed-rs/release/fastembed-rs"
        return {
            "program": program.stat().st_size,
            "ONNX Runtime": bench.runtime.stat().st_size,
            "model": model(),
        }

    return Contestant(
        "fastembed-rs", {}, BATCHES, lambda: Worker(command()), lambda text: (command(text), ""), sizes
    )
