#!/usr/bin/env python3
"""frosthead's heads against scikit-learn's LogisticRegression on the same standardised matrix, split and penalty.

usage: heads.py FROSTHEAD FEATURES.parquet TASK [TASK …]

FEATURES is made by `frosthead embed`. Trains runs (fixed alpha 100, `--alpha auto`, `--class-weight balanced`) with frosthead on
the cached features, reads which rows it trained and tested on, fits scikit-learn (lbfgs, tol 1e-4) on the very same rows, and
prints the ratio of the final losses (both in f64, same objective), accuracies, macro-F1s and times.
needs: scikit-learn, numpy, pyarrow, safetensors.
"""

import json, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight

GRID = [1000.0, 300.0, 100.0, 30.0, 10.0, 3.0]


def objective(probabilities, labels, weights, alpha, class_weight=None):
    counts = compute_sample_weight(class_weight, labels)
    loss = log_loss(
        labels, probabilities, normalize=False, labels=np.arange(probabilities.shape[1]), sample_weight=counts
    )
    return loss + alpha / 2 * (weights**2).sum()


def softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


class Rows:
    """The rows of a run, as frosthead split them."""

    def __init__(self, table, run):
        split = load_file(run / "rows.safetensors")
        sides = {name: {bytes(row) for row in split[name]} for name in ("train", "test")}
        keys = [bytes.fromhex(text) for text in table["text_hash"].to_pylist()]
        self.train = np.array([key in sides["train"] for key in keys])
        self.test = np.array([key in sides["test"] for key in keys])


def sklearn_fit(x, y, alpha, weight=None):
    start = time.perf_counter()
    model = LogisticRegression(C=1 / alpha, tol=1e-4, max_iter=5000, class_weight=weight).fit(x, y)
    return model, time.perf_counter() - start


def train(frosthead, features, tasks, out, *options):
    command = [
        frosthead,
        "-q",
        "train",
        features,
        "--out",
        str(out),
        "--json",
        *[word for task in tasks for word in ("--task", task)],
        *options,
    ]
    start = time.perf_counter()
    metrics = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return metrics["tasks"], json.loads((out / "fit.json").read_text()), time.perf_counter() - start


def main():
    frosthead, features, *tasks = sys.argv[1:]
    table = pq.read_table(features)
    vectors = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, options in (
            ("fixed", ("--alpha", "100")),
            ("auto", ("--alpha", "auto")),
            ("balanced", ("--alpha", "100", "--class-weight", "balanced")),
        ):
            runs[name] = train(frosthead, features, tasks, Path(folder) / name, *options)
            print(f"frosthead {name}: {runs[name][2]:.1f} s for {len(tasks)} heads, whole process")
        rows = Rows(table, Path(folder) / "fixed")
        for place, task in enumerate(tasks):
            names = runs["fixed"][0][task]["labels"]
            cells = np.array([label or "" for label in table[task].to_pylist()])
            labelled = cells != ""
            own, held = rows.train & labelled, rows.test & labelled
            y = np.array([names.index(cell) if cell else -1 for cell in cells])
            x = vectors.astype(np.float64)
            mean, deviation = x[own].mean(axis=0), x[own].std(axis=0)
            x = (x - mean) * np.where(
                deviation > 1e-6 * deviation.max(), 1 / np.where(deviation > 0, deviation, 1), 0
            )
            model, seconds = sklearn_fit(x[own], y[own], 100.0)
            theirs = objective(model.predict_proba(x[own]), y[own], model.coef_, 100.0)
            fit = runs["fixed"][1][place]
            accuracy = runs["fixed"][0][task]["accuracy"]
            print(
                f"{task}: fixed alpha 100: loss {fit['loss']:.3f} / {theirs:.3f} = {fit['loss'] / theirs:.6f}; accuracy {accuracy:.4f} against "
                f"{model.score(x[held], y[held]):.4f}; {fit['seconds']:.2f} s against {seconds:.2f} s"
            )
            # scikit-learn's choice from the same grid, by 3-fold cross-validation on accuracy as its LogisticRegressionCV does.
            folds = np.random.default_rng(13).integers(0, 3, own.sum())
            xs, ys = x[own], y[own]
            scores = [
                np.mean(
                    [
                        sklearn_fit(xs[folds != f], ys[folds != f], alpha * 2 / 3)[0].score(
                            xs[folds == f], ys[folds == f]
                        )
                        for f in range(3)
                    ]
                )
                for alpha in GRID
            ]
            best = GRID[int(np.argmax(scores))]
            chosen, _ = sklearn_fit(xs, ys, best)
            fit, accuracy = runs["auto"][1][place], runs["auto"][0][task]["accuracy"]
            difference = 100 * (accuracy - chosen.score(x[held], y[held]))
            print(
                f"{task}: auto: alpha {fit['alpha']} against {best}; accuracy {accuracy:.4f}, {difference:+.2f} points; {fit['seconds']:.2f} s"
            )
            model, seconds = sklearn_fit(x[own], y[own], 100.0, "balanced")
            loss = objective(model.predict_proba(x[own]), y[own], model.coef_, 100.0, "balanced")
            fit = runs["balanced"][1][place]
            print(
                f"{task}: balanced: loss {fit['loss']:.3f} / {loss:.3f} = {fit['loss'] / loss:.6f}; {fit['seconds']:.2f} s against {seconds:.2f} s"
            )
            theirs = f1_score(y[held], model.predict(x[held]), average="macro")
            ours = runs["balanced"][0][task]["macro_f1"]
            print(
                f"{task}: balanced: macro-F1 {ours:.4f} against {theirs:.4f}, {100 * (ours - theirs):+.2f} points"
            )


if __name__ == "__main__":
    main()
