"""Owns the functions that train, measure and bundle: keywords with their defaults, figures as plain values."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal

from . import _frosthead

if TYPE_CHECKING:
    from ._types import ArrowTable, TextNames

    StrPath = str | PathLike[str]
    #: A path, columns of strings by their names, or a table of pyarrow, Polars, DuckDB, pandas.
    Table = StrPath | Mapping[str, Sequence[str | None]] | ArrowTable


def train(
    data: "Table",
    out: "StrPath",
    *,
    task: str | Sequence[str] = (),
    any_of: str | Sequence[str] = (),
    number: str | Sequence[str] = (),
    separator: str | None = None,
    precision_at: float | None = None,
    recall_at: float | None = None,
    interval: float | None = None,
    backbone: "StrPath | None" = None,
    text: "TextNames | None" = None,
    features: str | None = None,
    alpha: float | Literal["auto"] | None = None,
    class_weight: Literal["none", "balanced"] | None = None,
    freeze: str | Sequence[str] = (),
    unfreeze: Sequence[int] = (),
    layers: Mapping[str, object] | None = None,
    max_drop: float | None = None,
    test: "Table | None" = None,
    test_fraction: float | None = None,
    valid: "Table | None" = None,
    valid_fraction: float | None = None,
    rare: Literal["train", "drop"] | None = None,
    seed: int | None = None,
    final: bool = False,
    strict: bool = False,
    long: Literal["truncate", "windows"] | None = None,
    overwrite: bool = False,
    cache: "StrPath | None" = None,
    threads: int | None = None,
    device: str = "cpu",
    onnxruntime: "StrPath | None" = None,
) -> dict[str, Any]:
    """Trains a head for each column of `task` (one label), `any_of` (several labels, or none) and `number`, on a
    frozen backbone (or layers, with `freeze`, `unfreeze` and `layers`), writes the run `out`, and gives its
    metrics.json. The options are those of `frosthead train`."""
    arguments = {
        "tasks": _list(task),
        "any_of": _list(any_of),
        "number": _list(number),
        "separator": separator,
        "precision_at": precision_at,
        "recall_at": recall_at,
        "interval": interval,
        "out": fspath(out),
        "backbone": backbone,
        "text": text,
        "features": features,
        "alpha": None if alpha is None else str(alpha),
        "class_weight": class_weight,
        "freeze": _list(freeze),
        "unfreeze": list(unfreeze),
        "layers": {name: str(value) for name, value in (layers or {}).items()},
        "max_drop": max_drop,
        "test_fraction": test_fraction,
        "valid_fraction": valid_fraction,
        "rare": rare,
        "seed": seed,
        "final": final,
        "strict": strict,
        "long": long,
        "overwrite": overwrite,
    }
    common = _common(cache, threads, device, onnxruntime)
    return _figures(_frosthead.train(data, valid, test, arguments | common))


def evaluate(
    data: "Table",
    model: "StrPath",
    *,
    text: "TextNames | None" = None,
    task: str | Sequence[str] | None = None,
    separator: str | None = None,
    rows: Literal["unseen", "test", "valid", "train", "all"] | None = None,
    backbone: "StrPath | None" = None,
    strict: bool = False,
    cache: "StrPath | None" = None,
    threads: int | None = None,
    device: str = "cpu",
    onnxruntime: "StrPath | None" = None,
) -> dict[str, Any]:
    """Measures a run or a bundle on labelled rows; by default on those that it has not seen."""
    arguments = {
        "model": fspath(model),
        "text": text,
        "tasks": None if task is None else _list(task),
        "separator": separator,
        "rows": rows,
        "backbone": backbone,
        "strict": strict,
    }
    common = _common(cache, threads, device, onnxruntime)
    return _figures(_frosthead.evaluate(data, arguments | common))


def bundle(
    run: "StrPath",
    out: "StrPath",
    *,
    precision: Literal["auto", "fp32", "w8", "int8"] = "fp32",
    depth: int | Literal["auto"] | None = None,
    max_drop: float = 0.3,
    keep_embedding: bool = False,
    sign: "StrPath | None" = None,
    overwrite: bool = False,
    backbone: "StrPath | None" = None,
    cache: "StrPath | None" = None,
    threads: int | None = None,
    device: str = "cpu",
    onnxruntime: "StrPath | None" = None,
) -> dict[str, Any] | None:
    """Puts a run into one file; gives what was tried on the way, if something was."""
    arguments = {
        "run": fspath(run),
        "out": fspath(out),
        "precision": precision,
        "depth": None if depth is None else str(depth),
        "max_drop": max_drop,
        "keep_embedding": keep_embedding,
        "sign": sign,
        "overwrite": overwrite,
        "backbone": backbone,
    }
    report = _frosthead.bundle(arguments | _common(cache, threads, device, onnxruntime))
    return None if report is None else _figures(report)


def import_backbone(
    source: "StrPath", out: "StrPath", *, overwrite: bool = False, onnxruntime: "StrPath | None" = None
) -> None:
    """Makes a backbone directory of a published encoder: a Hugging Face directory, or an .onnx file."""
    _frosthead.import_backbone(fspath(source), fspath(out), overwrite, onnxruntime)


def _list(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _figures(text: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(text)
    return figures


def _common(
    cache: "StrPath | None", threads: int | None, device: str, onnxruntime: "StrPath | None"
) -> dict[str, object]:
    return {"cache": cache, "threads": threads, "device": device, "onnxruntime": onnxruntime}
