"""What a type checker is to accept; scripts/test-python.sh runs mypy --strict on it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import frosthead
from frosthead.sklearn import TextClassifier, TextEmbedder


def accepted() -> None:
    embedder = frosthead.Embedder("backbone", features="all", cache=None)
    vectors: npt.NDArray[np.float32] = embedder.encode(["a", "b"])
    vectors = embedder.encode([("a", "b")])
    vectors = embedder.encode(np.array(["a"]))
    classifier = frosthead.Classifier("x.frost", threads=2)
    labels: dict[str, npt.NDArray[Any]] = classifier.predict(["a"])
    stream: frosthead.ArrowStream = classifier.predict_arrow(pa.table({"text": ["a"]}), text="text")
    metrics = frosthead.train(
        {"text": ["a"], "task": [None]}, "run", task="task", backbone="backbone", alpha="auto"
    )
    metrics = frosthead.evaluate("data.csv", "run", rows="test")
    report = frosthead.bundle("run", "x.frost", precision="int8", depth="auto")
    TextClassifier("backbone").fit(["a"], ["b"]).predict(["a"])
    TextEmbedder("backbone").fit(["a"]).transform(["a"])
    print(vectors, labels, stream, metrics, report, frosthead.__version__)
    try:
        embedder.encode([])
    except frosthead.FrostheadError as error:
        print(error.kind, error.remedy)
