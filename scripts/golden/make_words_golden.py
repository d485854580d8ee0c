#!/usr/bin/env python3
"""Writes tests/data/words_golden.json: logistic regression on pieces and pairs by scikit-learn, for the fit of a head's words.

Texts are drawn: token ids of a vocabulary of 60, labels that hang on some of them. A piece or pair of a text of n tokens counts 1 / sqrt(n)
each time that it stands there; pairs have the places `tokens/grams.rs` gives them; what stands in a single text has no weight. `plain`: the
loss on that; `rare`: where each column is divided by the root of the number of texts that have it.
usage: make_words_golden.py OUT         needs: numpy, scipy, scikit-learn
"""

import json, sys

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

PIECES, PAIRS = 60, 127
FACTORS = 2_654_435_761, 2_246_822_519


def places(ids):
    return list(ids) + [
        PIECES + (left * FACTORS[0] + right * FACTORS[1]) % PAIRS for left, right in zip(ids, ids[1:])
    ]


def loss(model, x, y, alpha):
    logits = np.asarray(x @ model.coef_.T + model.intercept_)
    penalty = alpha / 2 * (model.coef_**2).sum()
    if logits.shape[1] == 1:
        # One column of the difference is two of half of it.
        logits = np.hstack([-logits / 2, logits / 2])
    logits -= logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]).sum() + penalty)


def main():
    draw = np.random.default_rng(20261129)
    cases = []
    for classes in (2, 4):
        texts, labels = [], []
        for row in range(160):
            label = int(draw.integers(classes))
            ids = draw.integers(4, PIECES, size=int(draw.integers(1, 12))).tolist()
            if draw.random() < 0.7:
                ids.insert(int(draw.integers(len(ids) + 1)), 10 + label)
            texts.append([1, *ids, 2])
            labels.append(label)
        x = np.zeros((len(texts), PIECES + PAIRS))
        for row, ids in enumerate(texts):
            for place in places(ids):
                x[row, place] += 1 / np.sqrt(len(ids))
        texts_with = (x > 0).sum(axis=0)
        x[:, texts_with < 2] = 0
        plain, rare, y = csr_matrix(x), csr_matrix(x / np.sqrt(np.maximum(texts_with, 1))), np.array(labels)
        for alpha in (10.0, 1.0, 0.1):
            fits = {
                name: (x, LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=20_000).fit(x, y))
                for name, x in (("plain", plain), ("rare", rare))
            }
            losses = {name: loss(model, x, y, alpha) for name, (x, model) in fits.items()}
            cases.append({"texts": texts, "labels": labels, "classes": classes, "alpha": alpha, **losses})
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump({"pieces": PIECES, "pairs": PAIRS, "cases": cases}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
