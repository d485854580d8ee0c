#!/usr/bin/env python3
"""The whole job with SetFit, as its quickstart does it: contrastive training of the encoder on few labels, then a head; its defaults.

usage: job_setfit.py train TRAIN.csv CHECKPOINT MODEL TASK       writes MODEL
       job_setfit.py predict TEST.csv CHECKPOINT MODEL TASK      writes MODEL/found.json
needs: setfit.
"""

import csv
import json
import sys
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main():
    step, table, checkpoint, folder, task = sys.argv[1:]
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts, labels = [row["text"] for row in rows], [row[task] for row in rows]
    if step == "train":
        model = SetFitModel.from_pretrained(checkpoint, labels=sorted(set(labels)), device="cpu")
        arguments = TrainingArguments(output_dir=folder, report_to="none", show_progress_bar=False)
        Trainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict({"text": texts, "label": labels})
        ).train()
        model.save_pretrained(folder)
    else:
        found = SetFitModel.from_pretrained(folder, device="cpu").predict(texts, show_progress_bar=False)
        Path(folder, "found.json").write_text(json.dumps({task: [str(label) for label in found]}))


if __name__ == "__main__":
    main()
