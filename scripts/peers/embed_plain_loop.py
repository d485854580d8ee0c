#!/usr/bin/env python3
"""A plain loop over onnxruntime and tokenizers as a peer: what a careful programmer writes without a library.

options: {"model": a backbone directory of frosthead's (its graph with the pooling inside), "threads": N}
settings of a pass: {"batch_size": N}, texts in the order in which they came (32 unless said), or {"token_budget": N, "buckets": [lengths]}:
sorted by length, padded to a bucket, as many rows as the budget holds, which are frosthead's own batches.
needs: onnxruntime, tokenizers, numpy.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from worker import serve_embedding


def sorted_batches(lengths, buckets, budget):
    """The batches of `tokens::batches`: longest first, padded to a bucket, full but for the last."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        padded = next(bucket for bucket in buckets if bucket >= lengths[order[start]])
        full = max(1, budget // padded)
        yield order[start : start + full], padded
        start += full


def batches_in_order(lengths, size):
    for start in range(0, len(lengths), size):
        rows = range(start, min(start + size, len(lengths)))
        yield rows, max(lengths[row] for row in rows)


def load(options):
    folder = Path(options["model"])
    preparation = json.loads((folder / "backbone.json").read_text())["preparation"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(preparation["max_length"])
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options["threads"]
    session = onnxruntime.InferenceSession(
        str(folder / "embedding.onnx"), session_options, providers=["CPUExecutionProvider"]
    )

    def embed(texts, settings):
        encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        lengths = [len(ids) for ids in encoded]
        batches = (
            sorted_batches(lengths, settings["buckets"], settings["token_budget"])
            if "token_budget" in settings
            else batches_in_order(lengths, settings.get("batch_size", 32))
        )
        result = [None] * len(texts)
        for rows, padded in batches:
            ids = np.full((len(rows), padded), preparation["pad_token_id"], dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, row in enumerate(rows):
                ids[place, : lengths[row]] = encoded[row]
                mask[place, : lengths[row]] = 1
            for row, vector in zip(
                rows, session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
            ):
                result[row] = vector
        return result

    return embed


if __name__ == "__main__":
    serve_embedding(load)
