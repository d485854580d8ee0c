#!/usr/bin/env python3
"""Extraction speed of a plain Python ONNX Runtime loop with the same graph and the same batches, run alternately with
`frosthead bench embed` on the same machine.

usage: extraction.py FROSTHEAD DATA.csv BACKBONE [--limit N] [--rounds N] [--threads N] [--token-budget N]

needs: onnxruntime (the version frosthead uses), tokenizers, numpy. Prints the texts/s of both, round by round, and their ratio.
"""
import argparse, csv, json, statistics, subprocess, time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def same_batches(lengths, bucket_lengths, budget):
    """The batches of `tokens::batches`: longest first, padded to a bucket, full but for the last."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches, start = [], 0
    while start < len(order):
        padded = next(b for b in bucket_lengths if b >= lengths[order[start]])
        full = max(1, budget // padded)
        batches.append((order[start:start + full], padded))
        start += full
    return batches


def python_loop(session, texts, tokenizer, max_length, window, budget, buckets):
    names = [output.name for output in session.get_outputs()]
    start = time.perf_counter()
    for first in range(0, len(texts), window):
        encoded = [e.ids for e in tokenizer.encode_batch_fast(texts[first:first + window])]
        for rows, padded in same_batches([len(ids) for ids in encoded], buckets, budget):
            ids = np.zeros((len(rows), padded), dtype=np.int64)
            mask = np.zeros_like(ids)
            for position, row in enumerate(rows):
                ids[position, :len(encoded[row])] = encoded[row]
                mask[position, :len(encoded[row])] = 1
            session.run(names, {"input_ids": ids, "attention_mask": mask})
    return len(texts) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frosthead"), parser.add_argument("data"), parser.add_argument("backbone")
    parser.add_argument("--limit", type=int, default=3000), parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2), parser.add_argument("--token-budget", type=int, default=1024)
    options = parser.parse_args()
    backbone = Path(options.backbone)
    manifest = json.loads((backbone / "backbone.json").read_text())
    max_length = manifest["preparation"]["max_length"]
    with open(options.data, newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:options.limit]
    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    tokenizer.no_padding(), tokenizer.enable_truncation(max_length)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    session = onnxruntime.InferenceSession(str(backbone / "layers.onnx"), settings, providers=["CPUExecutionProvider"])
    command = [options.frosthead, "-q", "bench", "embed", options.data, "--backbone", options.backbone, "--json", "--rounds", "1",
               "--limit", str(options.limit), "--threads", str(options.threads), "--token-budget", str(options.token_budget)]
    buckets = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["buckets"]
    loop = lambda: python_loop(session, texts, tokenizer, max_length, 8192, options.token_budget, buckets)
    loop()
    ratios = []
    for number in range(options.rounds):
        theirs = loop()
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        ratios.append(ours["texts_per_second"] / theirs)
        print(f"round {number + 1}: frosthead {ours['texts_per_second']:.0f} texts/s, python loop {theirs:.0f} texts/s, ratio {ratios[-1]:.3f}, "
              f"share of GEMM peak {ours['share_of_peak']:.2f}")
    print(f"median ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")


if __name__ == "__main__":
    main()
