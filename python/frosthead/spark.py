"""Spark: a column of vectors, or of labels, beside a DataFrame's own, computed by its executors.

The model is opened once in every Python worker, by as many threads as a task has cores, and its fingerprint is
checked there: two workers that would answer differently are an error, not a mixture. Rows go through as Arrow
batches, and all columns are carried.

Needs pyspark 3.5 or newer, with pyarrow, on the driver and on every executor, and this package on both.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pyspark import SparkFiles, TaskContext
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from . import Classifier, Embedder, FrostheadError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ._frosthead import ArrowStream
    from ._types import TextNames

    StrPath = str | PathLike[str]
    Model = Embedder | Classifier

__all__ = ["embed", "predict"]

#: What this worker has opened.
_opened: dict[object, Model] = {}


def embed(
    df: DataFrame,
    backbone: StrPath,
    *,
    text: TextNames = "text",
    column: str = "embedding",
    features: str = "last",
    long: Literal["truncate", "windows"] = "truncate",
    cache: StrPath | None = None,
    ship: bool = False,
    threads: int | None = None,
) -> DataFrame:
    """The DataFrame with a column of vectors: what `frosthead embed` gives for each text.

    `backbone` is a directory, a run or a bundle that lies at this path on the driver and on every executor; with
    `ship` Spark takes it from the driver to them. `text` may be two columns. With `cache` what is computed is kept
    in a feature store at this path of each executor (`frosthead cache merge` brings them together). Without
    `threads` a task runs on as many as `spark.task.cpus` says.
    """
    store = None if cache is None else fspath(cache)
    options = {"features": features, "long": long, "pairs": not isinstance(text, str), "cache": store}
    opening = _Opening(Embedder, backbone, options, threads, ship, df)

    def answer(model: Any, table: Any) -> ArrowStream:
        stream: ArrowStream = model.encode_arrow(table, text=text, column=column)
        return stream

    return _mapped(df, opening, answer)


def predict(
    df: DataFrame,
    model: StrPath,
    *,
    text: TextNames | None = None,
    all_probabilities: bool = False,
    ship: bool = False,
    threads: int | None = None,
) -> DataFrame:
    """The DataFrame with the answers of every task: the columns that `frosthead predict` gives.

    `model` is a bundle, or a run, as the backbone of `embed` is. Without `text` it is the column that the model was
    trained with.
    """
    opening = _Opening(Classifier, model, {}, threads, ship, df)

    def answer(model: Any, table: Any) -> ArrowStream:
        stream: ArrowStream = model.predict_arrow(table, text=text, all_probabilities=all_probabilities)
        return stream

    return _mapped(df, opening, answer)


class _Opening:
    """How a worker opens the model: the driver opens it first, and says which one it is."""

    def __init__(
        self,
        kind: type[Model],
        path: StrPath,
        options: dict[str, Any],
        threads: int | None,
        ship: bool,
        df: DataFrame,
    ) -> None:
        local = Path(fspath(path)).absolute()
        self.kind = kind
        self.options = options
        self.threads = threads
        # It computes nothing, and so keeps nothing.
        own = {name: value for name, value in options.items() if name != "cache"}
        self.model_on_driver: Model | None = kind(local, **own, threads=1)
        self.fingerprint = self.model_on_driver.fingerprint
        self.path = str(local)
        #: What Spark calls it where it unpacks it.
        self.shipped = _ship(df, local, self.fingerprint) if ship else None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model_on_driver": None}

    def model(self) -> Model:
        """The model, opened in this worker once."""
        context = TaskContext.get()
        threads = self.threads or (context.cpus() if context is not None else 1)
        path = SparkFiles.get(self.shipped) if self.shipped else self.path
        key = (self.kind, path, self.fingerprint, threads, tuple(self.options.items()))
        if key not in _opened:
            _opened[key] = self.kind(path, **self.options, threads=threads, fingerprint=self.fingerprint)
        return _opened[key]


#: What was given to Spark: in which application, and under which name.
_given: set[tuple[str, str]] = set()


def _ship(df: DataFrame, path: Path, fingerprint: str) -> str:
    """Gives the model to Spark, under a name that no other model has."""
    context = df.sparkSession.sparkContext
    name = f"frosthead-{fingerprint[:32]}" + ("" if path.is_dir() else ".frost")
    if (context.applicationId, name) in _given:
        return name
    folder = Path(tempfile.mkdtemp(prefix="frosthead-", dir=context._temp_dir))
    if path.is_dir():
        # Spark ships files: a folder goes as an archive, which it unpacks.
        archive = folder / f"{name}.tar"
        with tarfile.open(archive, "w") as members:
            for file in sorted(path.iterdir()):
                # Spark refuses an archive with an entry for the folder itself, as shutil.make_archive writes one.
                members.add(file, arcname=file.name)
        context.addArchive(f"{archive}#{name}")
    else:
        shutil.copyfile(path, folder / name)
        context.addFile(str(folder / name))
    _given.add((context.applicationId, name))
    return name


def _mapped(df: DataFrame, opening: _Opening, answer: Callable[[Any, Any], ArrowStream]) -> DataFrame:
    # What is wrong with the columns is said before anything runs.
    nothing = to_arrow_schema(df.schema).empty_table()
    answered = pa.RecordBatchReader.from_stream(answer(opening.model_on_driver, nothing)).schema
    schema = from_arrow_schema(pa.schema([_for_spark(field) for field in answered]))
    # Its own columns keep the types that they had.
    for place, field in enumerate(df.schema.fields):
        schema.fields[place] = field

    def partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _answered(iter(batches), opening, answer)

    return df.mapInArrow(partition, schema)


def _answered(
    batches: Iterator[pa.RecordBatch], opening: _Opening, answer: Callable[[Any, Any], ArrowStream]
) -> Iterator[pa.RecordBatch]:
    """The batches of a partition with their answers, one after the other."""
    first = next(batches, None)
    if first is None:
        return
    context = TaskContext.get()
    where = f"partition {context.partitionId()}" if context is not None else "partition"
    try:
        # As one table: rows are counted from the start of the partition.
        table = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        for batch in pa.RecordBatchReader.from_stream(answer(opening.model(), table)):
            yield pa.RecordBatch.from_arrays(
                [_column_for_spark(column) for column in batch.columns],
                schema=pa.schema([_for_spark(field) for field in batch.schema]),
            )
    except (FrostheadError, pa.ArrowException) as error:
        raise RuntimeError(f"{where}: {error}") from error


def _for_spark(field: pa.Field) -> pa.Field:
    """Spark knows lists, but none of a fixed size."""
    if pa.types.is_fixed_size_list(field.type):
        return field.with_type(pa.list_(field.type.value_field))
    return field


def _column_for_spark(column: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_list(column.type):
        return column.cast(pa.list_(column.type.value_field))
    return column
