"""What the package computes is what the program computes, to the bit."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from program import frosthead

import frosthead as package
from frosthead import Classifier, Embedder, FrostheadError


@pytest.fixture(scope="module")
def embedded(made: Path):
    out = made / "features.parquet"
    frosthead(
        "-q",
        "embed",
        made / "data.csv",
        "--backbone",
        made / "backbone",
        "--cache",
        made / "cache",
        "--features",
        "layers:1-2",
        "--out",
        out,
    )
    return pq.read_table(out)


def matrix(column) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.float32)


def test_vectors(made, texts, embedded):
    embedder = Embedder(made / "backbone")
    vectors = embedder.encode(texts)
    assert vectors.dtype == np.float32 and vectors.shape == (len(texts), embedder.dimensions)
    assert np.array_equal(vectors, matrix(embedded["embedding"]))
    # Alone, in another order, twice: one text has one embedding.
    assert np.array_equal(embedder.encode(texts[3:4]), vectors[3:4])
    assert np.array_equal(embedder.encode(texts[5::-1] * 2), np.concatenate([vectors[5::-1]] * 2))
    assert embedder.encode([]).shape == (0, 384)


def test_options_of_an_embedder(made, texts, embedded, tmp_path):
    layers = Embedder(made / "backbone", features="layers:1-2", cache=tmp_path / "store")
    assert np.array_equal(layers.encode(texts), matrix(embedded["features"]))
    assert any((tmp_path / "store").rglob("*.part")), "the store was not used"
    assert np.array_equal(layers.encode(texts), matrix(embedded["features"]))
    assert np.array_equal(
        Embedder(made / "backbone", features="layers:1-2", threads=1).encode(texts[:9]),
        matrix(embedded["features"])[:9],
    )
    long = ["word " * 600]
    cut, whole = Embedder(made / "backbone"), Embedder(made / "backbone", long="windows")
    assert not np.array_equal(cut.encode(long), whole.encode(long))
    for wrong in ({"features": "some"}, {"long": "never"}, {"device": "abacus"}, {"threads": 0}):
        with pytest.raises(FrostheadError) as raised:
            Embedder(made / "backbone", **wrong)
        assert raised.value.kind == "usage", wrong


def test_a_bundle_and_a_run_are_backbones_too(made, texts, embedded):
    for path in (made / "run", made / "x.frost"):
        assert np.array_equal(Embedder(path).encode(texts[:5]), matrix(embedded["embedding"])[:5])


@pytest.mark.parametrize("model", ["run", "x.frost"])
def test_labels_and_probabilities(made, texts, model):
    answers = frosthead(
        "-q", "predict", made / "data.csv", "--model", made / model, "--all-probabilities"
    ).stdout
    answers = [json.loads(line) for line in answers.splitlines()]
    classifier = Classifier(made / model)
    labels, probabilities = classifier.predict(texts), classifier.predict_proba(texts)
    assert list(labels) == list(probabilities) == list(classifier.labels) == ["domain", "sentiment"]
    for task, names in classifier.labels.items():
        assert labels[task].tolist() == [answer[f"{task}_predicted"] for answer in answers]
        theirs = [[answer[f"{task}_probability_{name}"] for name in names] for answer in answers]
        assert probabilities[task].dtype == np.float32
        assert np.array_equal(probabilities[task], np.array(theirs, dtype=np.float32))


def test_training_measuring_and_bundling(made, table, tmp_path):
    options = {"task": ["domain", "sentiment"], "backbone": made / "backbone", "cache": made / "cache"}
    metrics = package.train(made / "data.csv", tmp_path / "run", **options)
    theirs = json.loads((made / "run/metrics.json").read_text())
    assert metrics == theirs
    assert (tmp_path / "run/heads.safetensors").read_bytes() == (made / "run/heads.safetensors").read_bytes()
    assert package.train(made / "data.csv", tmp_path / "run", **options) == metrics, "up to date"
    # The same rows from memory.
    assert package.train(table, tmp_path / "other", **options)["tasks"] == metrics["tasks"]

    measured = package.evaluate(made / "data.csv", tmp_path / "run", cache=made / "cache")
    printed = frosthead(
        "-q", "eval", made / "data.csv", "--model", made / "run", "--cache", made / "cache", "--json"
    )
    assert measured == json.loads(printed.stdout)
    valid = package.evaluate(table, made / "run", cache=made / "cache", rows="valid", task="domain")
    assert list(valid["tasks"]) == ["domain"] and valid["measured"] == "valid"

    assert package.bundle(tmp_path / "run", tmp_path / "y.frost") is None
    assert Classifier(tmp_path / "y.frost").fingerprint == Classifier(made / "x.frost").fingerprint
    report = package.bundle(
        tmp_path / "run", tmp_path / "w8.frost", precision="w8", max_drop=50, cache=made / "cache"
    )
    assert report is not None and report["chosen"].startswith("w8")
    assert (tmp_path / "w8.frost").stat().st_size < 0.5 * (tmp_path / "y.frost").stat().st_size


OPTIONS = [
    {"features": "all"},
    {"alpha": 30.0},
    {"class_weight": "balanced"},
    {"test_fraction": 0.5},
    {"valid_fraction": 0.4},
    {"seed": 14},
    {"final": True},
    {"max_drop": 40.0},
    {"test": "others.csv"},
    {"valid": "others.csv"},
    {"freeze": "backbone:0-4", "layers": {"epochs": 1}},
    {"unfreeze": [0, 1], "layers": {"epochs": 1}},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: ",".join(option))
def test_options_of_training_are_the_programs(made, tmp_path, option):
    given = {key: str(made / value) if key in ("test", "valid") else value for key, value in option.items()}
    package.train(
        made / "data.csv",
        tmp_path / "ours",
        task="domain",
        backbone=made / "backbone",
        cache=made / "cache",
        **given,
    )
    flags = []
    for key, value in (given | given.pop("layers", {})).items():
        values = [",".join(map(str, value))] if isinstance(value, list) else [value]
        flags += [f"--{key.replace('_', '-')}"] + ([] if value is True else list(map(str, values)))
    frosthead(
        "-q",
        "train",
        made / "data.csv",
        "--task",
        "domain",
        "--backbone",
        made / "backbone",
        "--cache",
        made / "cache",
        "--out",
        tmp_path / "theirs",
        *flags,
    )
    ours, theirs = ((tmp_path / run / "heads.safetensors").read_bytes() for run in ("ours", "theirs"))
    assert ours == theirs
    plain = (made / "run/recipe.toml").read_text()
    assert (tmp_path / "ours/recipe.toml").read_text() != plain
    assert (tmp_path / "ours/recipe.toml").read_text() == (tmp_path / "theirs/recipe.toml").read_text()


def test_the_command_is_the_program(made, texts):
    command = [str(Path(sys.executable).parent / "frosthead")]
    environment = {"PATH": "/usr/bin", "HOME": str(made)}
    version = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, check=True, env=environment
    )
    assert version.stdout == frosthead("--version").stdout
    assert version.stdout.split()[1] == package.__version__
    ours = subprocess.run(
        [*command, "-q", "predict", "-", "--model", made / "x.frost"],
        input="\n".join(texts[:5]),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert (
        ours.stdout
        == frosthead("-q", "predict", "-", "--model", made / "x.frost", input="\n".join(texts[:5])).stdout
    )
    wrong = subprocess.run(
        [*command, "predict", "nothing.csv", "--model", "x"], capture_output=True, text=True, env=environment
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("error:")


def test_other_threads_run_meanwhile(made, texts):
    embedder, seen, done = Embedder(made / "backbone"), [], threading.Event()
    embedder.encode(texts)

    def count():
        while not done.is_set():
            seen.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    start = time.perf_counter()
    embedder.encode(texts * 3)
    end = time.perf_counter()
    done.set()
    thread.join()
    during = sum(start < moment < end for moment in seen)
    assert during > 100 * (end - start), f"{during} turns in {end - start:.2f} s"
