#!/usr/bin/env python3
"""Small Parquet files of features made by pyarrow, good and faulty, for the tests of src/data.

usage: make_foreign_parquet.py OUT_DIR     (needs pyarrow)
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
vectors = [[i + j / 4 for j in range(4)] for i in range(6)]
labels = pa.array([4, 5, 4, 5, 4, 5], pa.int64())
moods = pa.array(["a", "b", "a", "b", "a", "b"]).dictionary_encode()
flags = pa.array([True, None, False, True, False, True])
pq.write_table(
    pa.table(
        {"label": labels, "mood": moods, "flag": flags, "vector": pa.array(vectors, pa.list_(pa.float64()))}
    ),
    out / "good.parquet",
)
pq.write_table(
    pa.table({"vector": pa.array([*vectors[:2], [1.0, 2.0, 3.0]], pa.list_(pa.float32()))}),
    out / "ragged.parquet",
)
pq.write_table(
    pa.table({"vector": pa.array([vectors[0], None], pa.list_(pa.float32()))}), out / "missing.parquet"
)
pq.write_table(
    pa.table({"vector": pa.array([vectors[0], [0.0, float("nan"), 0.0, 0.0]], pa.list_(pa.float32(), 4))}),
    out / "not_finite.parquet",
)
pq.write_table(
    pa.table(
        {
            "first": pa.array(vectors, pa.list_(pa.float32())),
            "second": pa.array([v[:2] for v in vectors], pa.list_(pa.float32())),
        }
    ),
    out / "two_lists.parquet",
)
pq.write_table(pa.table({"label": labels}), out / "no_lists.parquet")
