#!/usr/bin/env python3
"""model2vec as a peer: distilled from the encoder with its defaults, a LogisticRegression of scikit-learn per task.

options: those of `labelling.py`, {"model": a folder that --distill wrote}
settings of a pass: {}
usage: label_model2vec.py --distill CHECKPOINT DIR     writes the static model into DIR
needs: model2vec, for --distill with its extra `distill`; scikit-learn.
"""

import sys

from model2vec import StaticModel

import labelling
from heads_logistic import fit_heads, load_heads


def load_encoder(options):
    model = StaticModel.from_pretrained(options["model"])
    return lambda texts, settings: model.encode(texts, **settings)


def distilled(checkpoint, folder):
    from model2vec.distill import distill

    distill(model_name=checkpoint).save_pretrained(folder)


if __name__ == "__main__":
    if sys.argv[1] == "--distill":
        distilled(*sys.argv[2:])
    else:
        labelling.run(fit_heads(load_encoder), load_heads(load_encoder))
