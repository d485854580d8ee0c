"""Kinds of tasks: one label, several labels or none, a number; and a label that is left away."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from program import frosthead

from frosthead import Classifier, FrostheadError, evaluate, train


@pytest.fixture(scope="module")
def kinds(made, table, tmp_path_factory):
    """A table with a column for each kind, and a run that the program trained on them."""
    folder = tmp_path_factory.mktemp("kinds")
    marks = [
        ";".join(name for mark, name in (("!", "loud"), (",", "clauses"), (".", "ends")) if mark in text)
        for text in table["text"]
    ]
    columns = table | {"marks": marks, "letters": [str(len(text)) for text in table["text"]]}
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([list(columns), *zip(*columns.values(), strict=True)])
    frosthead(
        "-q",
        "train",
        folder / "data.csv",
        "--backbone",
        made / "backbone",
        "--cache",
        made / "cache",
        "--task",
        "sentiment",
        "--any-of",
        "marks",
        "--number",
        "letters",
        "--precision-at",
        "0.9",
        "--interval",
        "0.8",
        "--valid-fraction",
        "0.4",
        "--out",
        folder / "run",
    )
    frosthead("-q", "bundle", folder / "run", "--out", folder / "x.frost")
    return folder


OPTIONS = {
    "task": "sentiment",
    "any_of": "marks",
    "number": ["letters"],
    "precision_at": 0.9,
    "interval": 0.8,
    "valid_fraction": 0.4,
}


def test_a_run_of_all_kinds_is_the_programs(made, kinds, tmp_path):
    metrics = train(
        kinds / "data.csv", tmp_path / "run", backbone=made / "backbone", cache=made / "cache", **OPTIONS
    )
    assert metrics == json.loads((kinds / "run/metrics.json").read_text())
    for name in ("heads.safetensors", "recipe.toml"):
        assert (tmp_path / "run" / name).read_bytes() == (kinds / "run" / name).read_bytes(), name
    measured = evaluate(kinds / "data.csv", tmp_path / "run", cache=made / "cache")
    printed = frosthead(
        "-q", "eval", kinds / "data.csv", "--model", kinds / "run", "--cache", made / "cache", "--json"
    )
    assert measured == json.loads(printed.stdout)
    assert 0 < measured["tasks"]["marks"]["several"]["micro_f1"] <= 1


@pytest.mark.parametrize("model", ["run", "x.frost"])
def test_answers_of_all_kinds_are_the_programs(kinds, table, model):
    printed = frosthead(
        "-q", "predict", kinds / "data.csv", "--model", kinds / model, "--all-probabilities"
    ).stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    classifier = Classifier(kinds / model)
    assert classifier.kinds == {"sentiment": "one-of", "marks": "any-of", "letters": "number"}
    assert classifier.labels["marks"] == ["clauses", "ends", "loud"] and classifier.labels["letters"] == []
    answers, probabilities = classifier.predict(table["text"]), classifier.predict_proba(table["text"])
    sentiment = answers["sentiment"].tolist()
    assert sentiment == [row["sentiment_predicted"] for row in rows]
    assert None in sentiment and any(sentiment), "some labels are left away, some are not"
    assert [list(labels) for labels in answers["marks"]] == [row["marks_predicted"] for row in rows]
    assert len({len(labels) for labels in answers["marks"]}) > 1
    numbers = np.array([row["letters_predicted"] for row in rows], dtype=np.float32)
    assert answers["letters"].dtype == np.float32 and np.array_equal(answers["letters"], numbers)
    assert np.array_equal(probabilities["letters"], numbers[:, None])
    for task in ("sentiment", "marks"):
        theirs = [[row[f"{task}_probability_{label}"] for label in classifier.labels[task]] for row in rows]
        assert np.array_equal(probabilities[task], np.array(theirs, dtype=np.float32)), task

    stream = classifier.predict_arrow(pa.table({"text": table["text"]}), all_probabilities=True)
    arrow = pa.table(stream)
    # The program's own stream has the same columns with the same values.
    source = kinds / "in.arrows"
    with (
        pa.OSFile(str(source), "wb") as out,
        pa.ipc.new_stream(out, pa.schema({"text": pa.string()})) as writer,
    ):
        writer.write_table(pa.table({"text": table["text"]}))
    answered = kinds / f"{model}.arrows"
    frosthead("-q", "predict", source, "--model", kinds / model, "--all-probabilities", "--out", answered)
    assert pa.ipc.open_stream(answered).read_all() == arrow
    arrow = arrow.to_pylist()
    assert list(arrow[0])[1:] == [
        name for name in rows[0] if name.startswith(("sentiment_", "marks_", "letters_"))
    ]
    as_float = lambda value: np.float32(value) if isinstance(value, float) else value
    for ours, theirs in zip(arrow, rows, strict=True):
        for name, value in ours.items():
            wanted = theirs[name]
            wanted = [as_float(each) for each in wanted] if isinstance(wanted, list) else as_float(wanted)
            value = [as_float(each) for each in value] if isinstance(value, list) else as_float(value)
            assert value == wanted, name


def test_tasks_that_contradict_each_other(made, kinds, tmp_path):
    options = {"backbone": made / "backbone", "cache": made / "cache"}
    for wrong, said in [
        ({}, "there is nothing to learn"),
        ({"any_of": "marks", "number": "marks"}, "--any-of marks and --number marks"),
        ({"any_of": "marks", "separator": ""}, "cannot separate labels"),
        ({"any_of": "marks", "precision_at": 0.9, "recall_at": 0.9}, "one promise"),
        ({"number": "letters", "interval": 1.5}, "interval=1.5"),
        ({"number": "sentiment"}, "number"),
    ]:
        with pytest.raises(FrostheadError, match=said):
            train(kinds / "data.csv", tmp_path / "run", **options, **wrong)
