"""What the tests share: the real encoder, a small labelled table, a run and a bundle, all made by the program."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("FROSTHEAD_PROGRAM", str(ROOT / "target/release/frosthead"))
LIBRARY = ROOT / ".downloads/onnxruntime"


def frosthead(*arguments: object, **keywords: object) -> subprocess.CompletedProcess:
    """The program, beside which the package is measured."""
    environment = os.environ | {"ORT_DYLIB_PATH": str(LIBRARY)}
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, **keywords)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `backbone`, `data.csv` (every 60th row of the demo data), `run` and `x.frost`."""
    folder = tmp_path_factory.mktemp("made")
    with open(ROOT / "data/demo.csv", newline="", encoding="utf-8") as source:
        rows = list(csv.reader(source))
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(rows[:1] + rows[1::60])
    frosthead("-q", "import", ROOT / ".downloads/all-MiniLM-L6-v2", "--out", folder / "backbone")
    train = ("train", folder / "data.csv", "--backbone", folder / "backbone", "--cache", folder / "cache")
    frosthead("-q", *train, "--task", "domain", "--task", "sentiment", "--out", folder / "run")
    frosthead("-q", "bundle", folder / "run", "--out", folder / "x.frost")
    return folder


@pytest.fixture(scope="session")
def table(made: Path) -> dict[str, list[str]]:
    """The rows of `data.csv`, column by column."""
    with open(made / "data.csv", newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.fixture(scope="session")
def texts(table: dict[str, list[str]]) -> list[str]:
    return table["text"]
