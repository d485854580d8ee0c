"""How the benchmark drives a peer that labels texts: a fit writes a folder, which with the encoder is all that answering reads.

usage of a peer: PEER.py OPTIONS fit TRAIN.csv VALIDATION.csv    writes OPTIONS' "folder"; prints what was chosen, as JSON
                 PEER.py OPTIONS once TEXT                       labels one text and ends: what memory is measured by
                 PEER.py OPTIONS serve                           answers questions (`worker.py`)
OPTIONS: JSON, {"folder": DIR, "tasks": [COLUMN], "threads": N} and the peer's own. A cell without text is no label.
questions: {"texts": JSON FILE}     the texts that are labelled
           {"labels": SETTINGS}     {"labels": {task: [label of each text]}}
           {"pass": SETTINGS}       {"seconds": of labelling all texts}
           {"singles": N}           {"seconds": [of each of the first N texts, labelled alone]}
"""

import csv
import json
import sys
import time
from pathlib import Path

from worker import answers, serve


def read_columns(path):
    """{column: cells}"""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {column: [row[column] for row in rows] for column in rows[0]}


def labelled(table, task):
    """Places of the rows that have a label of this task, and the labels."""
    places = [place for place, label in enumerate(table[task]) if label]
    return places, [table[task][place] for place in places]


def run(fit, load):
    """`fit(options, train, validation)` returns {"chosen": words}, or {}; `load(options)` returns `label(texts, settings)`, which returns
    {task: [label]}."""
    out = answers()
    options, step, *words = json.loads(sys.argv[1]), *sys.argv[2:]
    if step == "fit":
        Path(options["folder"]).mkdir(parents=True)
        print(json.dumps(fit(options, *map(read_columns, words))), file=out)
        return
    label = load(options)
    if step == "once":
        print(json.dumps(label(words, {})), file=out)
        return
    texts = []

    def read(path):
        texts[:] = json.loads(Path(path).read_text(encoding="utf-8"))
        return {"texts": len(texts)}

    def timed(texts, settings):
        start = time.perf_counter()
        label(texts, settings)
        return time.perf_counter() - start

    serve(
        {
            "texts": read,
            "labels": lambda settings: {"labels": label(texts, settings)},
            "pass": lambda settings: {"seconds": timed(texts, settings)},
            "singles": lambda count: {"seconds": [timed([text], {}) for text in texts[:count]]},
        },
        out,
    )
