#!/usr/bin/env python3
"""Compares embeddings that frosthead wrote for the 31 texts with what make_sentence_golden.py computed.

usage: check_sentence_golden.py texts OUT.jsonl                      writes the texts as a table
       check_sentence_golden.py compare FEATURES.parquet GOLDEN      (needs pyarrow, safetensors, numpy); exits with 1 when the least cosine
                                                                     is below 0.99999 or a number differs by more than 1e-4
"""

import json
import sys
from pathlib import Path

if sys.argv[1] == "texts":
    folder = Path(__file__).resolve().parents[2] / "tests/data/golden"
    texts = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["texts"]
    Path(sys.argv[2]).write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8"
    )
    sys.exit()

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

ours = np.array(pq.read_table(sys.argv[2]).column("embedding").to_pylist(), dtype=np.float32)
theirs = load_file(sys.argv[3])["embedding"]
assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
difference = np.abs(ours - theirs).max()
print(f"{len(ours)} texts: least cosine {cosine.min():.7f}, largest difference {difference:.1e}")
sys.exit(not (cosine.min() >= 0.99999 and difference <= 1e-4))
