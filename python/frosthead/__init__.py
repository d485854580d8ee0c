"""Freeze a BERT-family encoder, train light heads on its embeddings, ship one file.

``Embedder(path).encode(texts)`` gives vectors, ``Classifier(path).predict(texts)`` labels; ``train``,
``evaluate`` and ``bundle`` do what the commands of these names do. Nothing heavy is imported before it is used.
"""

from ._frosthead import ArrowStream, Classifier, Embedder, FrostheadError, __version__
from ._training import bundle, evaluate, import_backbone, train

__all__ = [
    "ArrowStream",
    "Classifier",
    "Embedder",
    "FrostheadError",
    "__version__",
    "bundle",
    "evaluate",
    "import_backbone",
    "train",
]
