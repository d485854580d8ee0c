#!/usr/bin/env python3
"""Reference fits of scikit-learn's LogisticRegression for src/heads.

usage: make_heads_golden.py OUT.json     (needs numpy and scikit-learn; their versions are written into the file)

Synthetic features from a fixed linear congruential generator (repeated in the Rust test, so that the file holds no data), a
constant feature included; standardised; lbfgs at tol 1e-10. `loss` is the summed cross entropy + alpha/2 |W|^2 (binary:
|w|^2 of the one weight vector).
"""

import json, sys
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight

ROWS, WIDTH = 300, 10


def sample(classes):
    bits, features, labels = 12345, [], []
    for row in range(ROWS):
        label = 0 if row % 10 < 6 else 1 + row % (classes - 1)
        values = []
        for _ in range(WIDTH):
            bits = (bits * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append(np.float32((bits >> 40) / 8388608 - 1))
        values[label] = np.float32(values[label] + np.float32(0.8))
        values[WIDTH - 1] = np.float32(7)
        features.append(values), labels.append(label)
    return np.array(features, dtype=np.float32), np.array(labels)


def main():
    out = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "fits": []}
    for classes in (2, 4):
        features, labels = sample(classes)
        x = features.astype(np.float64)
        deviation = x.std(axis=0)
        scale = np.where(deviation > 1e-6 * deviation.max(), 1 / np.where(deviation > 0, deviation, 1), 0)
        x = (x - x.mean(axis=0)) * scale
        for alpha in (0.5, 20.0):
            for weight in (None, "balanced"):
                model = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10000, class_weight=weight).fit(
                    x, labels
                )
                probabilities = model.predict_proba(x)
                counts = compute_sample_weight(weight, labels)
                loss = (
                    log_loss(labels, probabilities, normalize=False, sample_weight=counts)
                    + alpha / 2 * (model.coef_**2).sum()
                )
                out["fits"].append(
                    {
                        "classes": classes,
                        "alpha": alpha,
                        "class_weight": weight or "none",
                        "loss": loss,
                        "accuracy": float((model.predict(x) == labels).mean()),
                        "macro_f1": float(f1_score(labels, model.predict(x), average="macro")),
                        "first_probabilities": [list(map(float, row)) for row in probabilities[:5]],
                    }
                )
    with open(sys.argv[1], "w") as file:
        json.dump(out, file, indent=1)
        file.write("\n")


main()
