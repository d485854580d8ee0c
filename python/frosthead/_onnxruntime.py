"""Owns where the package ``onnxruntime`` keeps its library. The package itself, which is large, is not imported."""

import importlib.util
import os
from pathlib import Path

VARIABLE = "ORT_DYLIB_PATH"


def folder() -> "str | None":
    """The folder of the library; None where the environment names one, or the package is not there."""
    if os.environ.get(VARIABLE):
        return None
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    capi = Path(spec.origin).parent / "capi"
    return str(capi) if capi.is_dir() else None
