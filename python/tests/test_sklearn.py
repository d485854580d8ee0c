"""scikit-learn: the transformer and the classifier where users put them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from frosthead import Classifier, Embedder
from frosthead.sklearn import TextClassifier, TextEmbedder


def test_a_transformer_in_a_pipeline_and_a_search(made, table, tmp_path):
    texts, labels = table["text"], table["domain"]
    pipeline = make_pipeline(
        TextEmbedder(made / "backbone", cache=tmp_path), LogisticRegression(max_iter=300)
    )
    search = GridSearchCV(
        pipeline, {"textembedder__features": ["last", "all"], "logisticregression__C": [0.1, 1.0]}, cv=3
    )
    search.fit(texts, labels)
    assert search.best_score_ > 0.6, search.cv_results_["mean_test_score"]
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores.tolist())) > 1
    embedder = TextEmbedder(made / "backbone").fit(texts)
    assert np.array_equal(embedder.transform(texts), Embedder(made / "backbone").encode(texts))
    assert len(embedder.get_feature_names_out()) == 384
    assert clone(embedder).get_params() == embedder.get_params()
    frame = TextEmbedder(made / "backbone").set_output(transform="pandas").fit_transform(texts[:3])
    assert frame.shape == (3, 384) and frame.columns[0] == "frosthead0"


def test_a_classifier_in_a_pipeline_and_a_search(made, table, tmp_path):
    texts, labels = table["text"], table["domain"]
    search = GridSearchCV(
        make_pipeline(
            FunctionTransformer(lambda texts: [text.lower() for text in texts]),
            TextClassifier(made / "backbone", cache=tmp_path, alpha=30.0),
        ),
        {"textclassifier__alpha": [0.1, 3000.0]},
        cv=3,
    )
    search.fit(texts, labels)
    assert search.best_score_ > 0.6
    probabilities = search.predict_proba(texts[:5])
    assert probabilities.shape == (5, 4) and np.allclose(probabilities.sum(axis=1), 1)
    assert search.classes_[probabilities.argmax(axis=1)].tolist() == search.predict(texts[:5]).tolist()


def test_labels_that_are_numbers_and_a_bundle(made, table, tmp_path):
    texts = table["text"]
    numbers = np.array([10 if label == "tweet" else 9 for label in table["domain"]])
    classifier = TextClassifier(made / "backbone", cache=tmp_path / "cache").fit(texts, numbers)
    assert classifier.classes_.tolist() == [9, 10] and classifier.predict(texts).dtype == numbers.dtype
    assert classifier.score(texts, numbers) > 0.8
    classifier.bundle(tmp_path / "x.frost")
    bundled = Classifier(tmp_path / "x.frost").predict(texts)["label"]
    assert bundled.tolist() == [str(number) for number in classifier.predict(texts)]
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(texts), classifier.predict_proba(texts))
    assert (
        cross_val_score(
            TextClassifier(made / "backbone", cache=tmp_path / "cache", alpha=30.0),
            texts,
            numbers,
            cv=2,
            n_jobs=2,
        ).mean()
        > 0.6
    )


def test_labels_that_are_not_told_apart_as_text(made, table):
    mixed = np.array([1, "1"] * (len(table["text"]) // 2) + [1] * (len(table["text"]) % 2), dtype=object)
    with pytest.raises((TypeError, ValueError)):
        TextClassifier(made / "backbone").fit(table["text"], mixed)
