"""Arrow in and out: pyarrow, Polars, DuckDB and pandas as they come."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from frosthead import Classifier, Embedder, FrostheadError


@pytest.fixture(scope="module")
def embedder(made):
    return Embedder(made / "backbone")


@pytest.fixture(scope="module")
def vectors(embedder, texts):
    return embedder.encode(texts)


def stacked(column) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.float32)


def test_columns_of_every_kind_of_string(embedder, texts, vectors):
    strings = pa.array(texts)
    for column in [
        strings,
        pa.chunked_array([strings[:10], strings[10:]]),
        strings.cast(pa.large_string()),
        strings.cast(pa.string_view()),
        strings.dictionary_encode(),
        pl.Series(texts),
        pl.Series(texts, dtype=pl.Categorical),
        pd.Series(texts),
        np.array(texts),
        np.array(texts, dtype=object),
        tuple(texts),
        (text for text in texts),
    ]:
        assert np.array_equal(embedder.encode(column), vectors), type(column)
    assert np.array_equal(embedder.encode(strings[7:20]), vectors[7:20]), "a slice"


def test_a_table_comes_back_with_one_more_column(embedder, table, vectors):
    arrow = pa.table(table | {"row": list(range(len(vectors)))}).replace_schema_metadata({"made": "here"})
    answered = pa.table(embedder.encode_arrow(arrow))
    assert answered.column_names == ["text", "domain", "sentiment", "row", "embedding"]
    assert answered.drop_columns("embedding") == arrow and answered.schema.metadata == arrow.schema.metadata
    assert answered.schema.field("embedding").type == pa.list_(pa.field("item", pa.float32(), False), 384)
    assert np.array_equal(stacked(answered["embedding"]), vectors)
    named = pa.table(embedder.encode_arrow(arrow.rename_columns(["t", "a", "b", "c"]), text="t", column="v"))
    assert named.column_names == ["t", "a", "b", "c", "v"]


def test_polars_and_duckdb_as_they_come(embedder, table, vectors):
    frame = pl.DataFrame(embedder.encode_arrow(pl.DataFrame(table)))
    assert np.array_equal(frame["embedding"].to_numpy(), vectors)
    relation = duckdb.from_arrow(pa.table(table))
    answered = pa.table(embedder.encode_arrow(relation))
    assert np.array_equal(stacked(answered["embedding"]), vectors)
    stream = embedder.encode_arrow(pl.DataFrame(table))
    found = duckdb.sql(
        "select domain, count(*) as rows, min(embedding[1]) as least from stream group by domain"
    ).fetchall()
    assert sum(rows for _, rows, _ in found) == len(vectors)
    assert min(least for *_, least in found) == vectors[:, 0].min()


def test_batches_go_on_one_by_one(embedder, texts):
    read = []

    def batches():
        for number in range(5):
            read.append(number)
            yield pa.record_batch({"text": texts[:4]})

    source = pa.RecordBatchReader.from_batches(pa.schema({"text": pa.string()}), batches())
    answered = pa.RecordBatchReader.from_stream(embedder.encode_arrow(source))
    assert read == []
    assert answered.read_next_batch().num_rows == 4
    assert len(read) <= 2, "more was read than was asked for"
    assert answered.read_all().num_rows == 16


def test_large_batches_are_answered_in_windows(embedder):
    arrow = pa.table({"text": ["short"] * 20_000})
    sizes = [batch.num_rows for batch in pa.RecordBatchReader.from_stream(embedder.encode_arrow(arrow))]
    assert sum(sizes) == 20_000 and max(sizes) <= 8192


def test_labels_of_a_table(made, table, texts):
    classifier = Classifier(made / "x.frost")
    arrow = pa.table(table).rename_columns(["text", "domain_true", "sentiment_true"])
    answered = pa.table(classifier.predict_arrow(arrow, all_probabilities=True))
    labels, probabilities = classifier.predict(texts), classifier.predict_proba(texts)
    for task, names in classifier.labels.items():
        assert answered[f"{task}_predicted"].to_pylist() == labels[task].tolist()
        assert np.array_equal(answered[f"{task}_probability"].to_numpy(), probabilities[task].max(axis=1))
        for place, name in enumerate(names):
            assert np.array_equal(
                answered[f"{task}_probability_{name}"].to_numpy(), probabilities[task][:, place]
            )
    assert "domain_probability_tweet" not in pa.table(classifier.predict_arrow(arrow)).column_names


def test_a_missing_text_is_an_error_with_its_row(embedder):
    with pytest.raises(
        FrostheadError, match=r'row 3, column "texts": a text is missing: found null'
    ) as raised:
        embedder.encode(pa.chunked_array([["a"], ["b", None]]))
    assert raised.value.kind == "table" and raised.value.remedy
    with pytest.raises(pa.ArrowInvalid, match=r'row 9001, column "text": a text is missing'):
        pa.table(embedder.encode_arrow(pa.table({"text": ["a"] * 9000 + [None]})))
    with pytest.raises(TypeError, match=r"texts\[1\]: found None"):
        embedder.encode(["a", None])


def test_what_is_no_text_is_refused(embedder):
    with pytest.raises(FrostheadError, match=r'column "texts": the column is not text: found Int64'):
        embedder.encode(pa.array([1, 2]))
    with pytest.raises(FrostheadError, match=r'column "number": the column is not text: found Float64'):
        pa.table(embedder.encode_arrow(pa.table({"number": [0.5]}), text="number"))
    with pytest.raises(FrostheadError, match="a table stands where a column"):
        embedder.encode(pa.table({"text": ["a"]}))
    with pytest.raises(FrostheadError, match=r'column "body": there is no such column: found columns text'):
        pa.table(embedder.encode_arrow(pa.table({"text": ["a"]}), text="body"))
    with pytest.raises(FrostheadError, match=r'"embedding": the table has a column'):
        pa.table(embedder.encode_arrow(pa.table({"text": ["a"], "embedding": [1]})))
    with pytest.raises(TypeError, match="expected a table"):
        embedder.encode_arrow(["a"])
    with pytest.raises(TypeError, match="put it into a list"):
        embedder.encode("one text")
    with pytest.raises(TypeError, match=r"texts\[1\]: found <class 'int'>"):
        embedder.encode(["a", 1])
    with pytest.raises(ValueError, match=r"texts\[0\] is no Unicode text"):
        embedder.encode(["\ud800"])
    with pytest.raises(FrostheadError, match="pair"):
        embedder.encode([("a", "b")])
