#!/usr/bin/env python3
"""Reference fits of scikit-learn for tasks of several labels and of numbers, for src/heads.

usage: make_kinds_golden.py OUT.json     (needs numpy and scikit-learn; their versions are written into the file)

Features as in make_heads_golden.py, standardised. Several labels: row r has label l where feature l is above LEAST[l], so that
some rows have none; OneVsRestClassifier(LogisticRegression) at tol 1e-10; `loss` is the summed cross entropy of all labels
+ alpha/2 |W|^2. Numbers: 3 + 2 x0 - x1 + x2 x3; Ridge; `loss` is half the summed squared error of standardised numbers + alpha/2
|w|^2 in those units. Metrics are those of the fit on its own rows; average precision is macro.
"""

import json, sys
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
)
from sklearn.multiclass import OneVsRestClassifier

ROWS, WIDTH = 300, 10
LEAST = (0.0, 0.5, 0.8)


def sample():
    bits, features = 12345, []
    for _ in range(ROWS):
        values = []
        for _ in range(WIDTH):
            bits = (bits * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append(np.float32((bits >> 40) / 8388608 - 1))
        features.append(values)
    return np.array(features, dtype=np.float32)


def several(x, raw, alpha, weight):
    # The last feature decides with the label's own, so that no label is told without error.
    truth = np.stack(
        [raw[:, label] + 0.5 * raw[:, 9] > least for label, least in enumerate(LEAST)], axis=1
    ).astype(int)
    base = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10000, class_weight=weight)
    noise = np.arange(ROWS) % 11 == 0
    truth[noise] = 1 - truth[noise]
    model = OneVsRestClassifier(base).fit(x, truth)
    probabilities = model.predict_proba(x)
    loss = 0.0
    for label, one in enumerate(model.estimators_):
        has = truth[:, label]
        counts = (
            np.ones(ROWS)
            if weight is None
            else np.where(has == 1, ROWS / (2 * has.sum()), ROWS / (2 * (ROWS - has.sum())))
        )
        loss += (
            log_loss(has, probabilities[:, label], normalize=False, sample_weight=counts)
            + alpha / 2 * (one.coef_**2).sum()
        )
    said = (probabilities >= 0.5).astype(int)
    return {
        "alpha": alpha,
        "class_weight": weight or "none",
        "loss": loss,
        "micro_f1": float(f1_score(truth, said, average="micro")),
        "macro_f1": float(f1_score(truth, said, average="macro")),
        "exact": float(accuracy_score(truth, said)),
        "average_precision": float(average_precision_score(truth, probabilities)),
        "first_probabilities": [list(map(float, row)) for row in probabilities[:5]],
    }


def number(x, raw, alpha):
    wide = raw.astype(np.float64)
    truth = 3 + 2 * wide[:, 0] - wide[:, 1] + wide[:, 2] * wide[:, 3]
    model = Ridge(alpha=alpha).fit(x, truth)
    said, scale = model.predict(x), truth.std()
    loss = 0.5 * ((said - truth) ** 2).sum() / scale**2 + alpha / 2 * (model.coef_**2).sum() / scale**2
    return {
        "alpha": alpha,
        "loss": float(loss),
        "r2": float(r2_score(truth, said)),
        "mae": float(mean_absolute_error(truth, said)),
        "first": list(map(float, said[:5])),
    }


def main():
    raw = sample()
    x = raw.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    out = {
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "several": [several(x, raw, alpha, weight) for alpha in (0.5, 20.0) for weight in (None, "balanced")],
        "number": [number(x, raw, alpha) for alpha in (0.5, 20.0)],
    }
    with open(sys.argv[1], "w") as file:
        json.dump(out, file, indent=1)
        file.write("\n")


main()
