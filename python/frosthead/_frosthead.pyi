"""The module that is written in Rust."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from ._types import ArrowColumn, ArrowTable, TextNames, Texts

__all__ = [
    "ArrowStream",
    "Classifier",
    "Embedder",
    "FrostheadError",
    "__version__",
    "bundle",
    "evaluate",
    "import_backbone",
    "run_command",
    "train",
]

__version__: str

_StrPath: TypeAlias = str | PathLike[str]

class FrostheadError(Exception):
    """What went wrong, where, what was found, what was expected, and what to do."""

    #: What it is about: `io`, `table`, `model`, `runtime`, `bundle`, `usage`, ...
    kind: str
    #: What to do about it, if that is known.
    remedy: str | None

@final
class Embedder:
    """A frozen backbone that turns texts into vectors, the same bits as `frosthead embed` gives."""

    def __new__(
        cls,
        path: _StrPath,
        *,
        features: str = "last",
        long: Literal["truncate", "windows"] = "truncate",
        pairs: bool = False,
        cache: _StrPath | None = None,
        threads: int | None = None,
        device: str = "cpu",
        onnxruntime: _StrPath | None = None,
        fingerprint: str | None = None,
    ) -> Embedder: ...
    def encode(self, texts: Texts) -> npt.NDArray[np.float32]:
        """The vectors of texts: a matrix of float32 with a row for each."""

    def encode_arrow(
        self, table: ArrowTable | ArrowColumn, *, text: TextNames | None = None, column: str = "embedding"
    ) -> ArrowStream:
        """A table with its texts' vectors in one more column."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""

    @property
    def max_length(self) -> int:
        """Tokens of a text, at most; the rest is cut off, or read in windows."""

    @property
    def path(self) -> Path:
        """Where the backbone lies."""

    @property
    def fingerprint(self) -> str:
        """Names what is computed: equal fingerprints, equal vectors (on one kind of processor)."""

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]: ...

@final
class Classifier:
    """A run or a bundle that labels texts, with the numbers that `frosthead predict` gives."""

    def __new__(
        cls,
        path: _StrPath,
        *,
        backbone: _StrPath | None = None,
        trust: str | None = None,
        threads: int | None = None,
        device: str = "cpu",
        onnxruntime: _StrPath | None = None,
        fingerprint: str | None = None,
    ) -> Classifier: ...
    def predict(self, texts: Texts) -> dict[str, npt.NDArray[Any]]:
        """Per task, what is answered for every text: its label (None where a threshold of the head is not reached),
        a tuple of labels, the most probable first, or a number."""

    def predict_proba(self, texts: Texts) -> dict[str, npt.NDArray[np.float32]]:
        """Per task, the probabilities of every text: a row for each, a column for each of its labels. A number has
        none: it is answered as it is, in one column."""

    def predict_arrow(
        self,
        table: ArrowTable | ArrowColumn,
        *,
        text: TextNames | None = None,
        all_probabilities: bool = False,
    ) -> ArrowStream:
        """A table with what every task says of its texts in more columns."""

    @property
    def kinds(self) -> dict[str, Literal["one-of", "any-of", "number"]]:
        """The tasks with their kinds."""

    @property
    def labels(self) -> dict[str, list[str]]:
        """The tasks with their labels, in the order of the probabilities' columns; a number has none."""

    @property
    def max_length(self) -> int:
        """Tokens of a text, at most; the rest is cut off, or read in windows."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def fingerprint(self) -> str:
        """Names it: equal fingerprints, equal answers (on one kind of processor)."""

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]: ...

@final
class ArrowStream:
    """A table with answers beside its rows, computed batch by batch when somebody reads it; every reading begins
    anew, if its source can be read anew."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def train(data: object, valid: object, test: object, arguments: Mapping[str, object]) -> str: ...
def evaluate(data: object, arguments: Mapping[str, object]) -> str: ...
def bundle(arguments: Mapping[str, object]) -> str | None: ...
def import_backbone(source: str, out: str, overwrite: bool, onnxruntime: _StrPath | None) -> None: ...
def run_command(arguments: list[str]) -> int: ...
