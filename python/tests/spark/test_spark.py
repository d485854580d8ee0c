"""Spark: the executors' numbers are those of one `frosthead`, whatever happens to an executor."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import ROOT, frosthead
from pyspark import SparkFiles, TaskContext
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructField, StructType

import frosthead.spark as subject
from frosthead import Embedder, FrostheadError

MISSING = 250


@pytest.fixture(scope="module")
def rows(spark, table):
    """The rows of `data.csv` with their numbers, a list and a missing value, in four partitions."""
    rows = [
        (number, text, [domain, "x"], None if number % 3 else float(number))
        for number, (text, domain) in enumerate(zip(table["text"], table["domain"], strict=True))
    ]
    frame = spark.createDataFrame(rows, "number int, text string, tags array<string>, share double")
    return frame.repartitionByRange(4, "number")


@pytest.fixture(scope="module")
def vectors(made):
    """What one `frosthead embed` gives."""
    out = made / "one.parquet"
    frosthead(
        "-q",
        "embed",
        made / "data.csv",
        "--backbone",
        made / "backbone",
        "--cache",
        made / "cache",
        "--out",
        out,
    )
    return np.array(pq.read_table(out)["embedding"].to_pylist(), dtype=np.float32)


def collected(frame) -> pa.Table:
    return frame.toArrow().sort_by("number")


def matrix(table) -> np.ndarray:
    return np.array(table["embedding"].to_pylist(), dtype=np.float32)


def test_embeddings_are_those_of_one_program(made, rows, vectors):
    plain = collected(rows)
    frame = subject.embed(rows, made / "backbone")
    assert frame.schema.fields[:-1] == rows.schema.fields and frame.columns[-1] == "embedding"
    found = collected(frame)
    assert np.array_equal(matrix(found), vectors)
    assert found.select(plain.column_names) == plain, "all columns are carried"
    layers = subject.embed(rows.limit(5), made / "x.frost", features="layers:1-2", column="v").toArrow()
    assert len(layers["v"][0]) == 2 * 384


def test_what_executors_keep_is_used_at_home(made, rows, vectors, tmp_path):
    found = collected(subject.embed(rows, made / "backbone", cache=tmp_path / "node"))
    assert np.array_equal(matrix(found), vectors)
    frosthead("-q", "cache", "merge", tmp_path / "node", "--cache", tmp_path / "home")
    said = frosthead(
        "embed",
        made / "data.csv",
        "--backbone",
        made / "backbone",
        "--cache",
        tmp_path / "home",
        "--out",
        tmp_path / "x.parquet",
    ).stderr
    # Prose is folded to the width of a screen.
    assert "0 texts computed" in " ".join(said.split()), said


def test_labels_are_those_of_one_program(made, rows):
    printed = frosthead(
        "-q", "predict", made / "data.csv", "--model", made / "x.frost", "--all-probabilities"
    ).stdout
    theirs = [json.loads(line) for line in printed.splitlines()]
    found = collected(subject.predict(rows, made / "x.frost", all_probabilities=True)).to_pylist()
    for ours, row in zip(found, theirs, strict=True):
        for name in list(ours)[4:]:
            assert ours[name] == (np.float32(row[name]) if isinstance(row[name], float) else row[name]), name


def test_a_model_that_reads_no_pairs_says_so(made, rows):
    with pytest.raises(FrostheadError, match="this model reads texts one by one"):
        subject.predict(rows.withColumn("other", F.upper("text")), made / "x.frost", text=("text", "other"))


def test_a_model_is_opened_once_in_a_worker_and_has_the_tasks_cores(made, rows):
    opening = subject._Opening(Embedder, made / "backbone", {"features": "last"}, None, False, rows)

    def partition(batches):
        for _ in subject._answered(iter(batches), opening, lambda model, table: model.encode_arrow(table)):
            context = TaskContext.get()
            yield pa.RecordBatch.from_pydict(
                {
                    "partition": [context.partitionId()],
                    "process": [os.getpid()],
                    "executor": [os.getppid()],
                    "model": [id(opening.model())],
                    "opened": [len(subject._opened)],
                    "threads": [max(key[3] for key in subject._opened)],
                }
            )

    schema = "partition long, process long, executor long, model long, opened long, threads long"
    found = rows.repartition(12).mapInArrow(partition, schema).toPandas()
    assert sorted(found["partition"].unique()) == list(range(12))
    assert found["executor"].nunique() == 2, "both executors worked"
    assert found["process"].nunique() == 2, "a worker takes one task after the other"
    assert found.groupby("process")["model"].nunique().tolist() == [1, 1]
    # The workers have been here since the other tests, with what those opened.
    assert found.groupby("process")["opened"].nunique().tolist() == [1, 1]
    assert set(found["threads"]) == {1}


def test_an_executor_is_killed_after_it_has_emitted_a_batch(made, rows, vectors, tmp_path):
    marker = tmp_path / "killed.json"
    embedded = subject.embed(rows, made / "backbone")
    schema = StructType([*embedded.schema.fields, StructField("attempt", LongType(), False)])

    def killed_once(batches):
        context = TaskContext.get()
        for batch in batches:
            attempts = pa.array([context.taskAttemptId()] * batch.num_rows, pa.int64())
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, attempts], names=[*batch.schema.names, "attempt"]
            )
            # The batch has gone on: this line runs when the next one is asked for.
            if context.partitionId() == 1 and not marker.exists():
                # This worker's parent is Spark's daemon, whose parent is the executor.
                executor = int(Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(")", 1)[1].split()[1])
                assert "java" in os.readlink(f"/proc/{executor}/exe")
                marker.write_text(
                    json.dumps(
                        {"executor": executor, "rows": batch.num_rows, "attempt": context.taskAttemptId()}
                    )
                )
                os.kill(executor, signal.SIGKILL)
                time.sleep(600)

    found = collected(embedded.mapInArrow(killed_once, schema))
    said = json.loads(marker.read_text())
    assert said["rows"] == 40, "a whole batch was emitted"
    assert not Path(f"/proc/{said['executor']}").exists(), "the executor is dead"
    assert said["attempt"] not in found["attempt"].to_pylist(), "the partition was computed again"
    assert found["number"].to_pylist() == list(range(len(vectors))), "nothing is lost, nothing doubled"
    assert np.array_equal(matrix(found), vectors)


def test_models_that_spark_ships(made, rows, vectors):
    for model, ending in [(made / "backbone", ""), (made / "x.frost", ".frost")]:
        opening = subject._Opening(Embedder, model, {"features": "last"}, None, True, rows)
        assert (
            opening.shipped
            == subject._Opening(Embedder, model, {"features": "last"}, None, True, rows).shipped
        )

        def where(batches, opening=opening):
            for _ in batches:
                yield pa.RecordBatch.from_pydict(
                    {
                        "path": [os.path.abspath(opening.model().path)],
                        "root": [os.path.abspath(SparkFiles.getRootDirectory())],
                    }
                )

        found = rows.mapInArrow(where, "path string, root string").toPandas()
        assert all(
            path.startswith(root) and path.endswith(ending)
            for path, root in zip(found["path"], found["root"], strict=True)
        ), found
        assert np.array_equal(matrix(collected(subject.embed(rows, model, ship=True))), vectors)


def test_workers_that_have_another_model_say_so(made, rows, tmp_path):
    other = tmp_path / "x.frost"
    shutil.copy(made / "x.frost", other)
    frame = subject.predict(rows, other)
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
        tmp_path / "run",
    )
    frosthead("-q", "bundle", tmp_path / "run", "--out", other, "--overwrite")
    with pytest.raises(
        Exception, match="this is not the model that was asked for: found fingerprint"
    ) as raised:
        frame.toArrow()
    assert "partition " in str(raised.value)
    other.unlink()
    with pytest.raises(Exception, match="x.frost"):
        frame.toArrow()


def test_a_batch_that_fails_says_partition_and_row(made, spark, rows):
    broken = rows.withColumn("text", F.when(F.col("number") == MISSING, None).otherwise(F.col("text")))
    broken = broken.sort("number").coalesce(1).withColumn("at", F.spark_partition_id())
    with pytest.raises(
        Exception, match=rf'partition 0: .*row {MISSING + 1}, column "text": a text is missing: found null'
    ):
        subject.embed(broken, made / "backbone").toArrow()
    for text, said in [
        ("share", r'column "share": the column is not text: found Float64'),
        ("nothing", r'column "nothing": there is no such column'),
    ]:
        with pytest.raises(FrostheadError, match=said):
            subject.embed(rows, made / "backbone", text=text)
    with pytest.raises(FrostheadError, match='"text": the table has a column that is called like an answer'):
        subject.embed(rows, made / "backbone", column="text")
    empty = spark.createDataFrame([], rows.schema)
    assert subject.predict(empty, made / "x.frost").count() == 0
