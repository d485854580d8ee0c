#!/usr/bin/env python3
"""fastembed (Python) as a peer, by its own description of all-MiniLM-L6-v2, on a local copy of the model.

options: {"model": DIR with model.onnx and the tokenizer's files, "threads": N}
settings of a pass: {"batch_size": N, "parallel": N} (its defaults: 256, none)
needs: fastembed.
"""

from fastembed import TextEmbedding

from worker import serve_embedding


def load(options):
    model = TextEmbedding(
        "sentence-transformers/all-MiniLM-L6-v2",
        specific_model_path=options["model"],
        threads=options["threads"],
        providers=["CPUExecutionProvider"],
    )
    return lambda texts, settings: list(model.embed(texts, **settings))


if __name__ == "__main__":
    serve_embedding(load)
