#!/usr/bin/env python3
"""fastText as a peer: words and their pairs, or these with pieces of words, whichever is better on validation rows; quantized as its
documentation does for small devices.

options: those of `labelling.py`
settings of a pass: {}
needs: fasttext-numpy2-wheel (fastText 0.9.2).
"""

import tempfile
from pathlib import Path

import fasttext

import labelling

FORMS = {
    "words, 1-2-grams": {"wordNgrams": 2},
    "words and characters, 2-5-grams": {"wordNgrams": 2, "minn": 2, "maxn": 5},
}
# Of its tutorial on supervised learning.
LEARNING = {"lr": 0.5, "epoch": 25, "loss": "softmax", "verbose": 0}
# Of the same on models for small devices.
QUANTIZED = {"qnorm": True, "retrain": True, "cutoff": 100_000, "verbose": 0}
PREFIX = "__label__"


def path(options, task):
    return Path(options["folder"], f"{task}.ftz")


def line(text):
    """fastText ends a text at a line's end."""
    return " ".join(text.split())


def best_label(model, texts, names):
    # A text without a word has no answer; it gets the most frequent label.
    found, _ = model.predict([line(text) or "</s>" for text in texts])
    return [names[int(labels[0].removeprefix(PREFIX))] if labels else names[0] for labels in found]


def fit(options, train, validation):
    chosen = []
    for task in options["tasks"]:
        (places, labels), (held, truth) = (
            labelling.labelled(train, task),
            labelling.labelled(validation, task),
        )
        names = sorted(set(labels), key=lambda label: (-labels.count(label), label))
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            for place, label in zip(places, labels):
                file.write(f"{PREFIX}{names.index(label)} {line(train['text'][place])}\n")
            file.flush()
            fitted = {}
            for name, settings in FORMS.items():
                model = fasttext.train_supervised(
                    input=file.name, thread=options["threads"], **LEARNING, **settings
                )
                answers = best_label(model, [validation["text"][place] for place in held], names)
                fitted[name] = model, sum(map(str.__eq__, answers, truth)) / len(truth)
            best = max(fitted, key=lambda name: fitted[name][1])
            model = fitted[best][0]
            model.quantize(input=file.name, thread=options["threads"], **QUANTIZED)
        model.save_model(str(path(options, task)))
        path(options, task).with_suffix(".txt").write_text("\n".join(names), encoding="utf-8")
        chosen.append(f"{best} (validation {', '.join(f'{score:.3f}' for _, score in fitted.values())})")
    return {"chosen": "; ".join(chosen)}


def load(options):
    models = {
        task: (
            fasttext.load_model(str(path(options, task))),
            path(options, task).with_suffix(".txt").read_text(encoding="utf-8").split("\n"),
        )
        for task in options["tasks"]
    }
    return lambda texts, settings: {
        task: best_label(model, texts, names) for task, (model, names) in models.items()
    }


if __name__ == "__main__":
    labelling.run(fit, load)
