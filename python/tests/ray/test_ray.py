"""Ray: the example of docs/spark.md, run as it stands there, gives the numbers of one `frosthead`."""

import re

import numpy as np
import pyarrow as pa
import pytest
import ray
from program import ROOT, frosthead
from pyarrow import parquet

from frosthead import Embedder


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Ray on this machine alone; two workers hold a core each, and Ray divides tables beside them."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def example():
    """The Python of the page's section."""
    page = (ROOT / "docs/spark.md").read_text(encoding="utf-8")
    section = page.split("\n## Ray\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def run(example, ds, backbone):
    names = {"ds": ds}
    exec(example.replace('"/models/all-MiniLM-L6-v2"', repr(str(backbone))), names)
    return pa.concat_tables(ray.get(names["embedded"].to_arrow_refs())).combine_chunks()


def test_the_documented_example_gives_one_programs_numbers(example, made, table):
    rows = pa.table({"number": range(len(table["text"])), "review": table["text"], "domain": table["domain"]})
    embedded = run(example, ray.data.from_arrow(rows).repartition(4), made / "backbone").sort_by("number")
    assert embedded["review"].to_pylist() == table["text"]
    assert embedded["domain"].to_pylist() == table["domain"]
    out = made / "ray.parquet"
    frosthead("-q", "embed", made / "data.csv", "--backbone", made / "backbone", "--out", out)
    told = np.array(parquet.read_table(out)["embedding"].to_pylist(), dtype=np.float32)
    assert np.array_equal(np.array(embedded["embedding"].to_pylist(), dtype=np.float32), told)


def test_a_worker_opens_the_model_once(example, made, table, monkeypatch):
    """The example's class is a stateful one: its model is made in the constructor, not for each batch."""
    opened = []
    names = {"ds": ray.data.from_arrow(pa.table({"review": table["text"]}))}
    exec(example.split("embedded =")[0], names)
    monkeypatch.setattr(
        "frosthead.Embedder", lambda *given, **named: opened.append(given) or Embedder(*given, **named)
    )
    worker = names["Embed"](str(made / "backbone"))
    batches = [pa.table({"review": table["text"][start : start + 5]}) for start in (0, 5)]
    assert [worker(batch).num_rows for batch in batches] == [5, 5]
    assert len(opened) == 1


def test_a_null_text_says_so(example, made):
    rows = pa.table({"review": ["a text", None]})
    with pytest.raises(Exception, match="null"):
        run(example, ray.data.from_arrow(rows), made / "backbone")
