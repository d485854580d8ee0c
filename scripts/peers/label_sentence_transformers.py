#!/usr/bin/env python3
"""The usual recipe as a peer: sentence-transformers' embeddings, a LogisticRegression of scikit-learn per task.

options: those of `labelling.py` and of `embed_sentence_transformers.py`
settings of a pass: {"batch_size": N} (its default is 32)
needs: sentence-transformers (with its extra `openvino` for that backend), scikit-learn.
"""

import labelling
from embed_sentence_transformers import load as load_encoder
from heads_logistic import fit_heads, load_heads

if __name__ == "__main__":
    labelling.run(fit_heads(load_encoder), load_heads(load_encoder))
