"""The program, beside which the package is measured."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("FROSTHEAD_PROGRAM", str(ROOT / "target/debug/frosthead"))
LIBRARY = ROOT / ".downloads/onnxruntime"


def frosthead(*arguments: object, **keywords: object) -> subprocess.CompletedProcess:
    """The program, beside which the package is measured."""
    environment = os.environ | {"ORT_DYLIB_PATH": str(LIBRARY)}
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, **keywords)
