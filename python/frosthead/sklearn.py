"""scikit-learn's transformer and classifier: texts in, vectors or labels out, for `Pipeline` and `GridSearchCV`.

Needs scikit-learn (``pip install frosthead[sklearn]``). Vectors of a frozen backbone do not depend on what they are
fitted on, so `cache` pays in a search: every text is embedded once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from . import Classifier, Embedder, bundle, train

if TYPE_CHECKING:
    from sklearn.utils import Tags

    StrPath = str | PathLike[str]

__all__ = ["TextClassifier", "TextEmbedder"]

#: What the text and the label are called in the tables that are made here, and so in a bundle.
TEXT, LABEL = "text", "label"


class TextEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Texts → the vectors of a frozen backbone (see `frosthead.Embedder`). Fitting only opens it."""

    def __init__(
        self,
        backbone: StrPath,
        *,
        features: str = "last",
        long: Literal["truncate", "windows"] = "truncate",
        cache: StrPath | None = None,
        threads: int | None = None,
        device: str = "cpu",
        onnxruntime: StrPath | None = None,
    ) -> None:
        self.backbone = backbone
        self.features = features
        self.long = long
        self.cache = cache
        self.threads = threads
        self.device = device
        self.onnxruntime = onnxruntime

    def fit(self, X: Iterable[str], y: object = None) -> TextEmbedder:
        """Opens the backbone; looks at no text."""
        self.embedder_ = Embedder(
            self.backbone,
            features=self.features,
            long=self.long,
            cache=self.cache,
            threads=self.threads,
            device=self.device,
            onnxruntime=self.onnxruntime,
        )
        return self

    def transform(self, X: Iterable[str]) -> npt.NDArray[np.float32]:
        """A row of numbers for every text."""
        check_is_fitted(self)
        return self.embedder_.encode(X)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """`frosthead0`, `frosthead1`, ..."""
        check_is_fitted(self)
        return np.array([f"frosthead{place}" for place in range(self.embedder_.dimensions)], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        return _reads_texts(super().__sklearn_tags__())


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Texts → labels: a head on a frozen backbone, fitted as `frosthead.train` does it.

    It is fitted on all rows; `valid_fraction` of them are first held out of a fit, to calibrate its probabilities.
    The run lies in a temporary folder that goes when the estimator does: `bundle` makes a file that stays.
    """

    def __init__(
        self,
        backbone: StrPath,
        *,
        features: str = "last",
        alpha: float | Literal["auto"] = "auto",
        class_weight: Literal["none", "balanced"] = "none",
        valid_fraction: float = 0.1,
        seed: int = 13,
        cache: StrPath | None = None,
        threads: int | None = None,
        device: str = "cpu",
        onnxruntime: StrPath | None = None,
    ) -> None:
        self.backbone = backbone
        self.features = features
        self.alpha = alpha
        self.class_weight = class_weight
        self.valid_fraction = valid_fraction
        self.seed = seed
        self.cache = cache
        self.threads = threads
        self.device = device
        self.onnxruntime = onnxruntime

    def fit(self, X: Iterable[str], y: Sequence[Any]) -> TextClassifier:
        """Fits a head on texts and their labels."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        names = [str(label) for label in self.classes_]
        self._folder = tempfile.TemporaryDirectory(prefix="frosthead-")
        self.run_ = Path(self._folder.name) / "run"
        train(
            {TEXT: list(X), LABEL: [names[code] for code in codes]},
            self.run_,
            task=LABEL,
            backbone=self.backbone,
            features=self.features,
            alpha=self.alpha,
            class_weight=self.class_weight,
            test_fraction=0.0,
            valid_fraction=self.valid_fraction,
            seed=self.seed,
            final=True,
            cache=self.cache,
            threads=self.threads,
            device=self.device,
            onnxruntime=self.onnxruntime,
        )
        self.classifier_ = Classifier(
            self.run_, threads=self.threads, device=self.device, onnxruntime=self.onnxruntime
        )
        known = self.classifier_.labels[LABEL]
        if sorted(known) != sorted(names):
            raise ValueError(f"labels that cannot be told apart as text: {names}; the head knows {known}")
        self._columns = [known.index(name) for name in names]
        return self

    def predict_proba(self, X: Iterable[str]) -> npt.NDArray[np.float32]:
        """A row of probabilities for every text, in the order of `classes_`."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)[LABEL][:, self._columns]

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable of `classes_` for every text."""
        labels: npt.NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def bundle(self, out: StrPath, **options: Any) -> dict[str, Any] | None:
        """Puts it into one file (see `frosthead.bundle`)."""
        check_is_fitted(self)
        return bundle(self.run_, out, **options)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        # The folder is this one's; a copy finds the run by its path, as long as that is there.
        state.pop("_folder", None)
        return state

    def __sklearn_tags__(self) -> Tags:
        return _reads_texts(super().__sklearn_tags__())


def _reads_texts(tags: Tags) -> Tags:
    tags.input_tags.string = True
    tags.input_tags.two_d_array = False
    tags.input_tags.one_d_array = True
    return tags
