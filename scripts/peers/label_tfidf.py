#!/usr/bin/env python3
"""TF-IDF with a linear support vector machine as a peer, all of it scikit-learn's: of words or of characters, whichever is better on
validation rows.

options: those of `labelling.py`
settings of a pass: {}
needs: scikit-learn.
"""

from pathlib import Path

import joblib
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import labelling

FORMS = {
    "words, 1-2-grams": {"ngram_range": (1, 2)},
    "characters within words, 2-5-grams": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}


def path(options, task):
    return Path(options["folder"], f"{task}.joblib")


def fit(options, train, validation):
    chosen = []
    for task in options["tasks"]:
        (places, labels), (held, truth) = (
            labelling.labelled(train, task),
            labelling.labelled(validation, task),
        )
        fitted = {}
        for name, settings in FORMS.items():
            model = make_pipeline(TfidfVectorizer(**settings), LinearSVC()).fit(
                [train["text"][place] for place in places], labels
            )
            fitted[name] = model, model.score([validation["text"][place] for place in held], truth)
        best = max(fitted, key=lambda name: fitted[name][1])
        joblib.dump(fitted[best][0], path(options, task))
        chosen.append(f"{best} (validation {', '.join(f'{score:.3f}' for _, score in fitted.values())})")
    return {"chosen": "; ".join(chosen)}


def load(options):
    models = {task: joblib.load(path(options, task)) for task in options["tasks"]}
    return lambda texts, settings: {task: model.predict(texts).tolist() for task, model in models.items()}


if __name__ == "__main__":
    labelling.run(fit, load)
