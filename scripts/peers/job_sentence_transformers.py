#!/usr/bin/env python3
"""The whole job as sentence-transformers' and scikit-learn's documentation do it: encode, one LogisticRegression per task, joblib.

usage: job_sentence_transformers.py train TRAIN.csv CHECKPOINT MODEL TASK…      writes MODEL/heads.joblib
       job_sentence_transformers.py predict TEST.csv CHECKPOINT MODEL TASK…     writes MODEL/found.json
needs: sentence-transformers, scikit-learn.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression


def main():
    step, table, checkpoint, model, *tasks = sys.argv[1:]
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    vectors = SentenceTransformer(checkpoint, device="cpu").encode(
        [row["text"] for row in rows], show_progress_bar=False
    )
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
