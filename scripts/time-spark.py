#!/usr/bin/env python3
"""What Spark costs: two executors of one core each, beside two processes of one core side by side without Spark.

    scripts/time-spark.py BACKBONE [--texts 50000]     with the Python of scripts/test-spark.sh's environment

Both embed the same texts out of the same Parquet files, and throw the vectors away; start-up (Spark, Python, opening
the model, a first batch) is apart. Prints seconds, texts/s, the ratio, and the memory of each worker along the way.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
BATCH = 1000

SIDE = """
import sys, time, os
import pyarrow as pa, pyarrow.parquet as pq
from frosthead import Embedder
embedder = Embedder(sys.argv[1], threads=1)
embedder.encode(["a text"] * 300)
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
rows = 0
for batch in pq.ParquetFile(sys.argv[2]).iter_batches(batch_size=int(sys.argv[3])):
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    rows += sum(part.num_rows for part in pa.RecordBatchReader.from_stream(embedder.encode_arrow(reader)))
print(rows, time.perf_counter() - start, flush=True)
"""


def without_spark(backbone: str, files: list[Path]) -> float:
    """Seconds of the slower of two processes."""
    command = [sys.executable, "-c", SIDE, backbone]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sides = [subprocess.Popen([*command, str(file), str(BATCH)], **pipes) for file in files]
    for side in sides:
        assert side.stdout.readline() == "ready\n"
    start = time.perf_counter()
    for side in sides:
        side.stdin.write("\n")
        side.stdin.flush()
    for side in sides:
        side.stdout.readline()
    seconds = time.perf_counter() - start
    for side in sides:
        assert side.wait() == 0
    return seconds


def spark_session(folder: Path):
    import pyspark
    from pyspark.sql import SparkSession

    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_WORKER_DIR"] = str(folder / "work")
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("frosthead")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH),
        # One partition a file.
        "spark.sql.files.maxPartitionBytes": str(1 << 40),
        "spark.sql.files.openCostInBytes": str(1 << 40),
    }.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def with_memory(backbone: str, frame):
    """Per batch, the memory of the worker that embedded it."""
    import frosthead.spark as subject
    from frosthead import Embedder

    opening = subject._Opening(Embedder, backbone, {"features": "last"}, None, False, frame)

    def partition(batches):
        for number, batch in enumerate(
            subject._answered(iter(batches), opening, lambda model, table: model.encode_arrow(table))
        ):
            status = Path("/proc/self/status").read_text()
            resident = int(status.split("VmRSS:")[1].split()[0]) // 1024
            yield pa.RecordBatch.from_pydict(
                {
                    "worker": [os.getpid()],
                    "batch": [number],
                    "megabytes": [resident],
                    "rows": [batch.num_rows],
                }
            )

    return frame.mapInArrow(partition, "worker long, batch long, megabytes long, rows long")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone", type=os.path.abspath)
    parser.add_argument("--texts", type=int, default=50_000)
    arguments = parser.parse_args()
    with open(ROOT / "data/demo.csv", newline="", encoding="utf-8") as source:
        rows = [row["text"] for row in csv.DictReader(source)]
    texts = [rows[number % len(rows)] for number in range(arguments.texts)]
    folder = Path(tempfile.mkdtemp(prefix="time-spark-"))
    (folder / "texts").mkdir()
    files = [folder / f"texts/{part}.parquet" for part in range(2)]
    for part, file in enumerate(files):
        pq.write_table(pa.table({"text": texts[part::2]}), file)

    import frosthead.spark as subject

    spark = spark_session(folder)
    frame = spark.read.parquet(str(folder / "texts"))
    assert frame.rdd.getNumPartitions() == 2
    warm = spark.createDataFrame([("a text",)] * 600, "text string").repartition(8)
    for _ in range(2):
        subject.embed(warm, arguments.backbone).write.format("noop").mode("overwrite").save()
    start = time.perf_counter()
    subject.embed(frame, arguments.backbone).write.format("noop").mode("overwrite").save()
    ours = time.perf_counter() - start
    side = without_spark(arguments.backbone, files)
    for what, seconds in [("Spark, two executors of one core", ours), ("two processes of one core", side)]:
        print(f"{what}: {seconds:.1f} s, {arguments.texts / seconds:.0f} texts/s", flush=True)
    print(f"ratio {side / ours:.3f}")
    memory = with_memory(arguments.backbone, frame).toPandas()
    assert memory["rows"].sum() == arguments.texts
    for worker, batches in memory.groupby("worker"):
        sizes = batches.sort_values("batch")["megabytes"].tolist()
        quarters = [sizes[len(sizes) * quarter // 4] for quarter in range(4)]
        print(
            f"worker {worker}: MB at the start of each quarter {quarters}, at the end {sizes[-1]}, most {max(sizes)}"
        )
    spark.stop()


if __name__ == "__main__":
    main()
