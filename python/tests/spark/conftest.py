"""A Spark with two executors of one core each, every one a process of its own."""

import os
import shutil
import sys
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    folder = tmp_path_factory.mktemp("spark")
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(folder / "local"),
        "spark.worker.dir": str(folder / "work"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "40",
        # An executor that is killed is noticed when its connection goes.
        "spark.sql.shuffle.partitions": "4",
    }
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("frosthead")
    for name, value in options.items():
        builder = builder.config(name, value)
    os.environ["SPARK_WORKER_DIR"] = str(folder / "work")
    session = builder.getOrCreate()
    yield session
    session.stop()
    # The executors of a local cluster work in Spark's own folder, whatever they are told.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)
