#!/usr/bin/env python3
"""The whole job as sentence-transformers' and scikit-learn's documentation do it: encode, one LogisticRegression per task, joblib.

usage: job_sentence_transformers.py train TRAIN.csv OPTIONS MODEL TASK…      writes MODEL/heads.joblib
       job_sentence_transformers.py predict TEST.csv OPTIONS MODEL TASK…     writes MODEL/found.json
OPTIONS: those of `embed_sentence_transformers.py`, as JSON
needs: sentence-transformers (with its extra `openvino` for that backend), scikit-learn.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression

from embed_sentence_transformers import load


def main():
    step, table, options, model, *tasks = sys.argv[1:]
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    vectors = load(json.loads(options))([row["text"] for row in rows], {})
    folder = Path(model)
    if step == "train":
        folder.mkdir()
        heads = {
            task: LogisticRegression(max_iter=1000).fit(vectors, [row[task] for row in rows])
            for task in tasks
        }
        joblib.dump(heads, folder / "heads.joblib")
    else:
        heads = joblib.load(folder / "heads.joblib")
        (folder / "found.json").write_text(
            json.dumps({task: heads[task].predict(vectors).tolist() for task in tasks})
        )


if __name__ == "__main__":
    main()
