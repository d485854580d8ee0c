"""Heads on a peer's embeddings: a LogisticRegression of scikit-learn per task, kept with joblib, as the peers' documentation does.

needs: scikit-learn, numpy.
"""

from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

import labelling

HEADS = "heads.joblib"


def fit_heads(load_encoder):
    """`fit` for `labelling.run`; `load_encoder(options)` returns `embed(texts, settings)`."""

    def fit(options, train, validation):
        vectors, heads = np.asarray(load_encoder(options)(train["text"], {})), {}
        for task in options["tasks"]:
            places, labels = labelling.labelled(train, task)
            # max_iter: so many that it ends by its tolerance.
            heads[task] = LogisticRegression(max_iter=1000).fit(vectors[places], labels)
        joblib.dump(heads, Path(options["folder"], HEADS))
        return {}

    return fit


def load_heads(load_encoder):
    """`load` for `labelling.run`."""

    def load(options):
        embed, heads = load_encoder(options), joblib.load(Path(options["folder"], HEADS))

        def label(texts, settings):
            vectors = np.asarray(embed(texts, settings))
            return {task: heads[task].predict(vectors).tolist() for task in options["tasks"]}

        return label

    return load
