#!/usr/bin/env python3
"""Training the top layers with frosthead against PyTorch: the same plan, split, batches, schedule and starting point.

usage: finetune.py FROSTHEAD DATA.csv FEATURES.parquet BACKBONE CHECKPOINT [--top N] [--seeds 13,14,15] [--epochs 3]
                   [--how cached|recomputed] [--task domain --task sentiment | --number COLUMN] [--json FILE]

BACKBONE is frosthead's directory, CHECKPOINT the Hugging Face directory it was imported from, FEATURES what `frosthead embed`
wrote for DATA (it tells which text is in which part of the split). Per seed: trains heads on the frozen backbone, trains the
top N layers with frosthead, then trains the same layers in PyTorch from the same fitted heads on the same rows, and prints
test accuracies and seconds per epoch (training rows only, without validation). `recomputed`: PyTorch runs the frozen layers in every
step, as people do; `cached`: it is fed with their stored states, as frosthead is. PyTorch keeps the epoch that is best on
the validation rows, as frosthead does. A task of numbers is measured by Spearman's correlation, and its epochs by R².
needs: torch, transformers, numpy, pyarrow, safetensors.
"""

import argparse, csv, json, os, subprocess, tempfile, time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from transformers import AutoTokenizer, BertModel

# The options of both; frosthead is told all that have an effect.
OPTIONS = {
    "learning-rate": 2e-4,
    "head-rate": 5.0,
    "layer-decay": 0.9,
    "warm-up": 0.1,
    "weight-decay": 0.01,
    "clip": 1.0,
    "dropout": 0.1,
    "patience": 2,
    "train-tokens": 1024,
}
POOL_BATCHES = 128


def frosthead(binary, data, backbone, tasks, out, seed, *options):
    command = [
        binary,
        "-q",
        "train",
        data,
        "--backbone",
        backbone,
        "--out",
        str(out),
        "--json",
        "--seed",
        str(seed),
        *[word for task, kind in tasks for word in (f"--{kind}", task)],
        *options,
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Data:
    def __init__(self, arguments):
        with open(arguments.data, newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        self.keys = [
            bytes.fromhex(text) for text in pq.read_table(arguments.features)["text_hash"].to_pylist()
        ]
        assert len(self.keys) == len(self.rows), "FEATURES was not made from DATA"
        self.cached, self.states_seconds = None, 0.0
        tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
        self.ids = tokenizer(
            [row["text"] for row in self.rows], truncation=True, max_length=256, padding=False
        )["input_ids"]

    def part(self, run, name):
        rows = {bytes(row) for row in load_file(run / "rows.safetensors")[name]}
        return [place for place, key in enumerate(self.keys) if key in rows]


def batches(rows, lengths, budget, random=None):
    """Batches of rows of similar length; with `random`, shuffled within pools of 128 batches' tokens, and among one another."""
    rows = list(rows)
    if random is not None:
        random.shuffle(rows)
    pools, pool, tokens = [], [], 0
    for row in rows:
        pool.append(row)
        tokens += lengths[row]
        if random is not None and tokens >= POOL_BATCHES * budget:
            pools.append(pool)
            pool, tokens = [], 0
    result = []
    for pool in pools + [pool]:
        batch = []
        for row in sorted(pool, key=lambda row: lengths[row]):
            if batch and (len(batch) + 1) * lengths[row] > budget:
                result.append(batch)
                batch = []
            batch.append(row)
        if batch:
            result.append(batch)
    if random is not None:
        random.shuffle(result)
    return result


class Network(torch.nn.Module):
    def __init__(self, checkpoint, heads, top):
        super().__init__()
        self.bert = BertModel.from_pretrained(checkpoint, add_pooling_layer=False, attn_implementation="sdpa")
        self.bert.requires_grad_(False)
        self.layers = self.bert.encoder.layer
        self.cut = len(self.layers) - top
        for layer in self.layers[self.cut :]:
            layer.requires_grad_(True)
        self.heads = torch.nn.ModuleList(heads)

    def train(self, mode=True):
        super().train(mode)
        # What is frozen gives the same states as in deployment; dropout is for what learns.
        self.bert.embeddings.eval()
        self.layers[: self.cut].eval()
        return self

    def lower(self, ids, mask):
        hidden = self.bert.embeddings(input_ids=ids)
        return self.run(hidden, mask, self.layers[: self.cut])

    def run(self, hidden, mask, layers):
        wide = None if bool(mask.all()) else mask[:, None, None, :].bool()
        for layer in layers:
            hidden = layer(hidden, wide)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return hidden

    def upper(self, hidden, mask):
        hidden = self.run(hidden, mask, self.layers[self.cut :])
        real = mask[:, :, None].to(hidden.dtype)
        pooled = F.normalize((hidden * real).sum(1) / real.sum(1), dim=1)
        return [head(pooled) for head in self.heads]


def padded(data, rows):
    length = max(len(data.ids[row]) for row in rows)
    ids, mask = (
        torch.zeros(len(rows), length, dtype=torch.long),
        torch.zeros(len(rows), length, dtype=torch.long),
    )
    for place, row in enumerate(rows):
        ids_of_row = data.ids[row]
        ids[place, : len(ids_of_row)] = torch.tensor(ids_of_row)
        mask[place, : len(ids_of_row)] = 1
    return ids, mask


class Cached:
    """Token states at the cut, computed once."""

    def __init__(self, network, data, lengths):
        network.eval()
        self.first = np.concatenate([[0], np.cumsum(lengths)])
        self.states = torch.empty(int(self.first[-1]), network.bert.config.hidden_size)
        with torch.inference_mode():
            for rows in batches(range(len(lengths)), lengths, 4096):
                ids, mask = padded(data, rows)
                for place, (row, states) in enumerate(zip(rows, network.lower(ids, mask))):
                    self.states[self.first[row] : self.first[row + 1]] = states[: lengths[row]]

    def __call__(self, ids, mask, rows):
        hidden = torch.zeros(*ids.shape, self.states.shape[1])
        for place, row in enumerate(rows):
            states = self.states[self.first[row] : self.first[row + 1]]
            hidden[place, : len(states)] = states
        return hidden


def ranks(numbers):
    """Equal numbers share the mean of their ranks."""
    _, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def scores(network, states, data, rows, lengths, truths, final=False):
    """Accuracy of every task of labels; of numbers R², or Spearman's correlation where it is `final`."""
    network.eval()
    said, order = [[] for _ in truths], []
    with torch.inference_mode():
        for batch in batches(rows, lengths, 4096):
            ids, mask = padded(data, batch)
            order += batch
            for outputs_of_task, logits in zip(said, network.upper(states(ids, mask, batch), mask)):
                outputs_of_task.append((logits.argmax(1) if logits.shape[1] > 1 else logits[:, 0]).numpy())
    found = []
    for predicted, truth in zip(said, truths):
        predicted, truth = np.concatenate(predicted), truth[order]
        if truth.dtype.kind == "i":
            found.append((predicted == truth).mean())
        elif final:
            found.append(np.corrcoef(ranks(predicted), ranks(truth))[0, 1])
        else:
            found.append(1 - ((predicted - truth) ** 2).mean() / truth.var())
    return np.array(found)


def loss_of(logits, truth):
    if truth.dtype.kind == "i":
        return F.cross_entropy(logits, torch.tensor(truth), reduction="sum")
    return 0.5 * ((logits[:, 0] - torch.tensor(truth)) ** 2).sum()


def group_rate(name, network, layers):
    if name.startswith("heads."):
        return OPTIONS["head-rate"]
    layer = int(name.split("encoder.layer.")[1].split(".")[0])
    return OPTIONS["layer-decay"] ** (layers - 1 - layer)


def torch_run(arguments, data, seed, base):
    torch.manual_seed(seed)
    fitted = load_file(base / "heads.safetensors")
    info = json.loads((base / "metrics.json").read_text())["tasks"]
    heads, labels = [], []
    for task, kind in arguments.tasks:
        names = info[task]["labels"]
        head = torch.nn.Linear(fitted[f"heads.{task}.weight"].shape[1], len(names))
        head.weight.data = torch.tensor(fitted[f"heads.{task}.weight"])
        head.bias.data = torch.tensor(fitted[f"heads.{task}.bias"])
        heads.append(head)
        if kind == "task":
            labels.append(np.array([names.index(row[task]) for row in data.rows]))
            continue
        # In units of their deviation, as frosthead fits and trains them.
        numbers = np.array([float(row[task]) for row in data.rows], dtype=np.float32)
        known = numbers[data.part(base, "train")]
        mean, deviation = float(known.mean()), float(known.std())
        head.weight.data /= deviation
        head.bias.data = (head.bias.data - mean) / deviation
        labels.append((numbers - mean) / deviation)
    network = Network(arguments.checkpoint, heads, arguments.top)
    lengths = [len(ids) for ids in data.ids]
    train, valid, test = (data.part(base, name) for name in ("train", "valid", "test"))
    if arguments.how == "cached" and data.cached is None:
        start = time.perf_counter()
        # The frozen part is the same for every seed.
        data.cached, data.states_seconds = Cached(network, data, lengths), time.perf_counter() - start
    states = data.cached or (lambda ids, mask, rows: network.lower(ids, mask))
    groups = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = OPTIONS["weight-decay"] if parameter.ndim > 1 else 0.0
            groups.setdefault((group_rate(name, network, len(network.layers)), decay), []).append(parameter)
    rate = OPTIONS["learning-rate"]
    optimizer = torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate * factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ]
    )
    random = np.random.default_rng(seed)
    plan = [batches(train, lengths, OPTIONS["train-tokens"], random) for _ in range(arguments.epochs)]
    total = sum(len(epoch) for epoch in plan)
    rising = round(OPTIONS["warm-up"] * total)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (step + 1) / rising if step < rising else (total - step) / max(1, total - rising),
    )
    trained = [parameter for group in groups.values() for parameter in group]
    best, seconds = (0.0, None), []
    for number, epoch in enumerate(plan):
        network.train()
        start = time.perf_counter()
        for rows in epoch:
            ids, mask = padded(data, rows)
            outputs = network.upper(states(ids, mask, rows), mask)
            # Every row of an epoch counts the same, whatever its batch.
            loss = sum(loss_of(logits, truth[rows]) for logits, truth in zip(outputs, labels))
            (loss * len(epoch) / len(train)).backward()
            torch.nn.utils.clip_grad_norm_(trained, OPTIONS["clip"])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        seconds.append(time.perf_counter() - start)
        score = scores(network, states, data, valid, lengths, labels).mean()
        if score > best[0]:
            best = (score, scores(network, states, data, test, lengths, labels, final=True))
        print(f"    torch epoch {number + 1}: {seconds[-1]:.1f} s, validation {score:.4f}", flush=True)
    return best[1], np.mean(seconds), data.states_seconds


def main():
    parser = argparse.ArgumentParser()
    for name in ("frosthead", "data", "features", "backbone", "checkpoint"):
        parser.add_argument(name)
    parser.add_argument("--top", type=int, default=2)
    parser.add_argument("--seeds", default="13,14,15")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--how", choices=("cached", "recomputed"), default="cached")
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--number", action="append", default=[])
    parser.add_argument("--json", help="write seconds and accuracies of each seed to this file, too")
    arguments = parser.parse_args()
    arguments.tasks = [(task, "task") for task in arguments.task] + [
        (task, "number") for task in arguments.number
    ]
    arguments.tasks = arguments.tasks or [("domain", "task"), ("sentiment", "task")]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = Data(arguments)
    depth = json.loads((Path(arguments.checkpoint) / "config.json").read_text())["num_hidden_layers"]
    freeze = f"backbone:0-{depth - arguments.top - 1}" if arguments.top < depth else "backbone:embeddings"
    found, seeds = {"scenario 2": [], "frosthead": [], "torch": []}, []
    with tempfile.TemporaryDirectory() as folder:
        for seed in map(int, arguments.seeds.split(",")):
            base, top = Path(folder) / f"base-{seed}", Path(folder) / f"top-{seed}"
            first = frosthead(
                arguments.frosthead, arguments.data, arguments.backbone, arguments.tasks, base, seed
            )["tasks"]
            # Where the top layer is trained alone, there is no layer below it.
            told = {
                name: value for name, value in OPTIONS.items() if name != "layer-decay" or arguments.top > 1
            }
            options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
            ours = frosthead(
                arguments.frosthead,
                arguments.data,
                arguments.backbone,
                arguments.tasks,
                top,
                seed,
                "--freeze",
                freeze,
                "--epochs",
                str(arguments.epochs),
                *options,
            )["tasks"]
            stage = json.loads((top / "training.json").read_text())[0]
            epochs = stage["epochs"][1:]
            seconds = np.mean([epoch["seconds"] for epoch in epochs])
            share = np.mean([epoch["runtime_seconds"] / epoch["seconds"] for epoch in epochs])
            theirs, torch_seconds, torch_states = torch_run(arguments, data, seed, base)
            of = {
                "task": lambda measured: measured["accuracy"],
                "number": lambda measured: measured["number"]["spearman"],
            }
            accuracy = lambda metrics: np.array([of[kind](metrics[task]) for task, kind in arguments.tasks])
            (
                found["scenario 2"].append(accuracy(first)),
                found["frosthead"].append(accuracy(ours)),
                found["torch"].append(theirs),
            )
            seeds.append(
                {
                    name: {
                        "seconds": float(taken),
                        "accuracies": dict(
                            zip([task for task, _ in arguments.tasks], map(float, found[name][-1]))
                        ),
                    }
                    for name, taken in (("frosthead", seconds), ("torch", torch_seconds))
                }
                | {"seed": seed}
            )
            shown = " / ".join(
                f"{name} " + " ".join(f"{100 * value:.2f}" for value in values[-1])
                for name, values in found.items()
            )
            print(f"seed {seed}: {shown}")
            print(
                f"  epoch: frosthead {seconds:.1f} s ({100 * share:.0f} % in ONNX Runtime), torch ({arguments.how}) {torch_seconds:.1f} s: "
                f"{torch_seconds / seconds:.2f} x; frozen part once: {stage['states_seconds']:.1f} s, torch {torch_states:.1f} s",
                flush=True,
            )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(seeds))
    print(
        f"top {arguments.top}, {arguments.epochs} epochs, tasks {' '.join(task for task, _ in arguments.tasks)}: test accuracy, mean (standard deviation)"
    )
    for name, values in found.items():
        means, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=1 if len(values) > 1 else 0)
        print(
            f"  {name:10}",
            "   ".join(f"{100 * mean:.2f} ({100 * deviation:.2f})" for mean, deviation in zip(means, spread)),
        )


if __name__ == "__main__":
    main()
