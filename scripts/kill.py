"""Kills commands at seeded points and compares what comes of them with undisturbed runs: see kill.sh.

Usage: kill.py PROGRAM COUNT SEED
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"
TASKS = ["--task", "domain", "--task", "sentiment"]
ON = ["--backbone", "models/tiny", "--cache", "cache"]
# Command: how often of a hundred, what must be there before it, its arguments.
COMMANDS = {
    "embed": (25, [], ["embed", "table.csv", *ON, "--out", "out.parquet"]),
    "train": (20, [], ["train", "table.csv", *ON, *TASKS, "--out", "run"]),
    "train-layers": (
        15,
        [],
        ["train", "table.csv", *ON, *TASKS, "--freeze", "backbone:0-0", "--epochs", "3", "--out", "layers"],
    ),
    "bundle": (15, ["run"], ["bundle", "run", "--out", "x.frost"]),
    "refit": (
        20,
        ["x.frost"],
        ["refit", "x.frost", "other.csv", "--task", "domain", "--cache", "cache", "--out", "y.frost"],
    ),
    "compare": (5, [], ["compare", "table.csv", *ON, *TASKS, "--epochs", "2", "--out", "compare"]),
}
# src/files/fault.rs.
PLACES = [
    "file-before-write",
    "file-half-written",
    "file-before-rename",
    "file-after-rename",
    "directory-before-rename",
    "directory-after-rename",
]
# Not compared: what a run took of time and memory, the size of the files that say so, and how many texts the command that
# ended had to compute itself.
NOT_COMPARED = ("seconds", "texts_per_second", "peak_memory", "run_bytes", "features_texts")
PAGE = "report.html"


class Work:
    """A folder that begins anew for every point, always under the same name: runs note paths."""

    def __init__(self, program, place):
        self.program = program
        self.made = place / "made"
        self.folder = place / "work"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FROSTHEAD")
        }
        self.environment["FROSTHEAD_CONFIG"] = str(place / "config")
        library = sorted((ROOT / ".downloads/onnxruntime").glob("libonnxruntime.so.*"))
        if library:
            self.environment["ORT_DYLIB_PATH"] = str(library[0])

    def begin(self, needed):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name in ["models", "table.csv", "other.csv", *needed]:
            source = self.made / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name)

    def start(self, arguments, kill_at=None):
        environment = {**self.environment, **({"FROSTHEAD_KILL_AT": kill_at} if kill_at else {})}
        with open(self.folder.parent / "said", "wb") as said:
            return subprocess.Popen(
                [self.program, *arguments], cwd=self.folder, env=environment, stdout=said, stderr=said
            )

    def whole(self, arguments):
        """Runs to the end; its seconds."""
        start = time.monotonic()
        code = self.start(arguments).wait()
        if code != 0:
            raise AssertionError(f"exit status {code}: {(self.folder.parent / 'said').read_text()}")
        return time.monotonic() - start

    def killed(self, arguments, place=None, after=None):
        """Runs until it is killed; whether it was."""
        process = self.start(arguments, place)
        if after is not None:
            time.sleep(after)
            process.kill()
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            raise AssertionError(f"exit status {code}: {(self.folder.parent / 'said').read_text()}")
        return code == -signal.SIGKILL

    def outcome(self):
        """Every file but the cache, by name: what is compared of it."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = [path.relative_to(self.folder) for path in files]
        return {str(name): compared(self.folder / name) for name in names if name.parts[0] != "cache"}


def compared(path):
    content = path.read_bytes()
    if path.name == PAGE:
        return content.rstrip().endswith(b"</html>")
    if path.suffix == ".json" and any(name.encode() in content for name in NOT_COMPARED):
        return without_times(json.loads(content))
    return content


def without_times(value):
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not key.endswith(NOT_COMPARED)}
        return {key: without_times(item) for key, item in kept.items()}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def prepare(work):
    """The tiny network, two tables, and what the later commands begin with."""
    made = work.made
    checkpoint = made / "checkpoint"
    checkpoint.mkdir(parents=True)
    shutil.copy(DATA / "bert_tiny_f16.safetensors", checkpoint / "model.safetensors")
    shutil.copy(DATA / "foreign_onnx/tokenizer.json", checkpoint / "tokenizer.json")
    described = json.loads((DATA / "bert_tiny.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(described["config"]))
    with open(ROOT / "data/demo.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    for name, first in [("table.csv", 0), ("other.csv", 90)]:
        with open(made / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows[first::180][:130]])
    work.folder = made
    work.whole(["import", "checkpoint", "--out", "models/tiny"])
    for command in ["train", "bundle"]:
        work.whole(COMMANDS[command][2])
    work.folder = made.parent / "work"


def undisturbed(work, command):
    """What a command comes to, and its seconds; two runs must agree."""
    _, needed, arguments = COMMANDS[command]
    outcomes, seconds = [], []
    for _ in range(2):
        work.begin(needed)
        seconds.append(work.whole(arguments))
        outcomes.append(work.outcome())
    if differences(*outcomes):
        raise AssertionError(f"two undisturbed runs of {command} differ: {differences(*outcomes)}")
    return outcomes[0], max(seconds)


def differences(one, other):
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


class Places:
    """How often a command passes each named place, as far as was seen."""

    def __init__(self):
        self.most = dict.fromkeys(PLACES, 6)

    def draw(self, draw):
        name = draw.choice([name for name, most in self.most.items() if most > 0])
        return name, draw.randint(1, self.most[name])

    def note(self, name, number, reached):
        if not reached:
            self.most[name] = min(self.most[name], number - 1)
        elif number == self.most[name]:
            self.most[name] += 4


def main():
    program, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    place = Path(tempfile.mkdtemp(prefix="frosthead-kill-"))
    work, draw = Work(program, place), random.Random(seed)
    prepare(work)
    expected, seconds = {}, {}
    for command in COMMANDS:
        expected[command], seconds[command] = undisturbed(work, command)
    places = {command: Places() for command in COMMANDS}
    done = dict.fromkeys(COMMANDS, 0)
    by_place, twice, missed, failures = 0, 0, 0, 0
    start = time.monotonic()
    while sum(done.values()) < count:
        command = draw.choices(list(COMMANDS), [share for share, *_ in COMMANDS.values()])[0]
        _, needed, arguments = COMMANDS[command]
        work.begin(needed)
        if draw.random() < 0.5:
            name, number = places[command].draw(draw)
            point = f"{name}:{number}"
            reached = work.killed(arguments, place=point)
            places[command].note(name, number, reached)
        else:
            after = draw.random() * seconds[command]
            point = f"{after:.3f} s"
            reached = work.killed(arguments, after=after)
        if not reached:
            missed += 1
            continue
        by_place += ":" in point
        done[command] += 1
        try:
            if draw.random() < 0.25:
                twice += work.killed(arguments, after=draw.random() * seconds[command])
            work.whole(arguments)
            unlike = differences(expected[command], work.outcome())
            if unlike:
                raise AssertionError(f"not as of an undisturbed run: {', '.join(unlike)}")
        except (AssertionError, ValueError) as error:
            failures += 1
            kept = place / f"failed-{failures}"
            shutil.copytree(work.folder, kept, symlinks=True)
            print(f"{command}, killed at {point}: {error}\n  kept as {kept}", flush=True)
        if sum(done.values()) % 100 == 0:
            print(
                f"{sum(done.values())} points, {failures} failures, {time.monotonic() - start:.0f} s",
                flush=True,
            )
    print(
        f"{count} kills (seed {seed}; {by_place} at named places, {twice} killed once more; {missed} draws came too late): "
        + ", ".join(f"{command} {number}" for command, number in done.items())
        + f"; {failures} ended otherwise than an undisturbed run"
    )
    if failures:
        sys.exit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
