"""What the tests share: the real encoder, a small labelled table, a run and a bundle, all made by the program."""

import csv
from pathlib import Path

import pytest
from program import ROOT, frosthead


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `backbone`, `data.csv` (every 60th row of the demo data), `others.csv`, `run` and `x.frost`."""
    folder = tmp_path_factory.mktemp("made")
    with open(ROOT / "data/demo.csv", newline="", encoding="utf-8") as source:
        rows = list(csv.reader(source))
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(rows[:1] + rows[1::60])
    with open(folder / "others.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(rows[:1] + rows[31::120])
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
