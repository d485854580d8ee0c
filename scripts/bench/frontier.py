"""The job "frontier": what an answer costs that is so good: our own bundles at several depths, and peers that label texts, on one table.

Refuses to compare what saw other rows: everybody learns from the rows that `frosthead train` takes for training, may choose by its
validation rows, and is measured on its test rows by what was deployed.
"""

import json
import shutil
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from contestants import BATCHES, PEERS, encoders
from environments import ROOT, Unavailable, tree_bytes
from material import ROWS, SEED, read_table, spread_over, write_table
from report import accuracy as in_words_of
from report import settings as in_words
from single import launch, percentiles
from turns import Worker, spread, take_turns

DEMO = ROOT / "data/demo.csv"
# Of test texts, those that are timed: what a slow peer labels in some seconds.
TIMED_TEXTS = 2000
# Of the pipes to and from our own program: what a program that pipes tables would ask for.
PIPE_BYTES = 1 << 20


@dataclass
class Labeller:
    name: str
    # What one pass answers.
    tasks: list
    # Settings of a pass; the fastest are measured.
    candidates: list
    # Learns, writes what is deployed, and says what was chosen (words, perhaps none).
    fit: Callable
    # Something that answers `texts`, `labels`, `pass` and `singles`.
    start: Callable
    # The command that labels one text and ends, and what it reads on standard input.
    once: Callable
    # Bytes of the files that are deployed, programs and libraries aside.
    deployed: Callable


def file_name(table):
    """Of the points for others: one file for each table, the demo's under the plain name."""
    return "frontier.json" if table == DEMO.stem else f"frontier-{table}.json"


def measure(bench):
    table = Path(bench.table or DEMO)
    print(f"bench: frontier, {table.stem}", flush=True)
    rows = read_table(table)
    folder = bench.material.folder / "frontier"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    split = bench.material.split(
        folder / f"{table.stem}.csv", spread_over(rows, 600) if bench.quick else rows, bench.tasks
    )
    yield one_table(bench, table.stem, split, [*peers(bench, split), *ours(bench, split, bench.depths)])


def one_table(bench, name, split, labellers):
    test = split.parts["test"]
    timed = spread_over(test, TIMED_TEXTS)
    paths = {}
    for which, rows in (("all", test), ("timed", timed), ("part", spread_over(timed, len(timed) // 4))):
        paths[which] = split.table.with_name(f"{name}-{which}.json")
        paths[which].write_text(json.dumps([row["text"] for row in rows]), encoding="utf-8")
    entries = {}
    for labeller in labellers:
        key = f"{labeller.name}: {', '.join(labeller.tasks)}"
        entry = bench.skips.attempt(key, lambda: Entry(labeller, paths, test))
        if entry:
            entries[key] = entry
    measures = {
        key: lambda entry=entry: entry.round(bench.singles, timed[0]["text"])
        for key, entry in entries.items()
    }
    # Not counted: files that are read for the first time, and shapes that are new.
    warm = take_turns(measures, 1, bench.skips)
    seconds = take_turns({key: measures[key] for key in warm}, bench.rounds, bench.skips)
    for entry in entries.values():
        entry.worker.stop()
    counts = {task: sum(bool(row[task]) for row in test) for task in split.tasks}
    return {
        "job": "frontier",
        "set": name,
        "amount": len(timed),
        "unit": "texts/s",
        "seed": SEED,
        "test_rows": counts,
        "rows": [entries[key].row(taken) for key, taken in seconds.items()],
    }


class Entry:
    """A labeller that has learned and runs: what it answered, and what its rounds took."""

    def __init__(self, labeller, paths, test):
        """Fits, starts, labels the test rows, and finds the fastest settings on a part of the texts."""
        self.labeller, self.chosen = labeller, labeller.fit()
        self.worker = worker = labeller.start()
        worker.ask("texts", str(paths["all"]))
        labels = worker.ask("labels", {})["labels"]
        self.accuracies = {
            task: accuracy(labels[task], [row[task] for row in test]) for task in labeller.tasks
        }
        worker.ask("texts", str(paths["part"]))
        # The second pass counts: shapes that are new cost memory allocations.
        trials = [
            (min(worker.ask("pass", tried)["seconds"] for _ in range(2)), place)
            for place, tried in enumerate(labeller.candidates)
        ]
        self.settings = labeller.candidates[min(trials)[1]]
        worker.ask("texts", str(paths["timed"]))
        self.latencies, self.peaks = [], []
        print(
            "bench:  ",
            "; ".join(
                filter(
                    None, [labeller.name, in_words_of(self.accuracies), in_words(self.settings), self.chosen]
                )
            ),
            flush=True,
        )

    def round(self, singles, text):
        """Single texts, a process that labels one text and ends, and all texts that are timed: the seconds of these."""
        answer = self.worker.ask("singles", singles)
        figures = answer.get("milliseconds") or percentiles([1000 * seconds for seconds in answer["seconds"]])
        self.latencies.append(figures["p50"])
        self.peaks.append(launch(*self.labeller.once(text))["peak_rss_bytes"])
        return self.worker.ask("pass", self.settings)["seconds"]

    def row(self, seconds):
        """Without the first round, which was not counted."""
        return {
            "contestant": self.labeller.name,
            "accuracies": self.accuracies,
            "chosen": self.chosen,
            "settings": self.settings,
            "bytes": self.labeller.deployed(),
            "seconds": seconds,
            "latency": spread(self.latencies[1:]),
            "peak_rss_bytes": statistics.median(self.peaks[1:]),
        }


def accuracy(found, truth):
    """Share of the rows with a label that got it."""
    right = [answer == label for answer, label in zip(found, truth, strict=True) if label]
    return sum(right) / len(right)


def peers(bench, split):
    """The usual recipe in each form of its encoder, TF-IDF and fastText for each task alone, and a static model distilled from the encoder."""
    for encoder in encoders(bench):
        if "onnx" not in encoder.name:
            yield peer(
                bench,
                split,
                f"{encoder.name} + LogisticRegression",
                encoder.environment,
                "label_sentence_transformers.py",
                BATCHES,
                encoder.options,
                encoder.model,
            )
    for task in split.tasks:
        yield peer(bench, split, "TF-IDF + LinearSVC", "scikit-learn", "label_tfidf.py", tasks=[task])
        yield peer(bench, split, "fastText", "fasttext", "label_fasttext.py", tasks=[task])
    distilled = lambda: bench.material.distilled(bench.environments.python("model2vec"))
    yield peer(
        bench,
        split,
        "model2vec + LogisticRegression",
        "model2vec",
        "label_model2vec.py",
        options=lambda: {"model": str(distilled())},
        model=lambda: tree_bytes(distilled()),
    )


def peer(
    bench, split, name, environment, script, candidates=({},), options=dict, model=lambda: 0, tasks=None
):
    """A peer in Python. `options` and `model` (bytes of the encoder that it needs beside its folder) are functions, as what they name may
    have to be made first."""
    tasks = tasks or split.tasks
    folder = split.table.parent / "-".join(
        word for word in f"{name} {' '.join(tasks)}".replace("+", " ").split()
    )

    def command(*words):
        python = bench.environments.python(environment)
        return [
            python,
            PEERS / script,
            json.dumps(options() | {"folder": str(folder), "tasks": tasks, "threads": bench.threads}),
            *words,
        ]

    def fit():
        words = [str(word) for word in command("fit", split.file("train"), split.file("valid"))]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"its fit ended with status {done.returncode}: {done.stderr[-400:]}")
        return json.loads(done.stdout).get("chosen", "")

    return Labeller(
        name,
        tasks,
        list(candidates),
        fit,
        lambda: Worker(command("serve")),
        lambda text: (command("once", text), ""),
        lambda: tree_bytes(folder) + model(),
    )


def ours(bench, split, depths):
    """Our own program: for each depth a run on the table, and its bundle in 8 bits."""
    for depth in depths:
        run, bundle = (split.table.with_name(f"depth-{depth}{ending}") for ending in ("", ".frost"))

        def fit(depth=depth, run=run, bundle=bundle):
            named = [word for task in split.tasks for word in ("--task", task)]
            run_ours(
                bench,
                "train",
                split.table,
                "--backbone",
                bench.material.backbone,
                *named,
                "--features",
                "auto",
                "--depth",
                depth,
                "--seed",
                SEED,
                "--out",
                run,
            )
            if (run / ROWS).read_bytes() != split.record:
                raise Unavailable("it divided the table otherwise")
            # What 8 bits cost is in the accuracy of the row, so the gate lets everything through.
            run_ours(bench, "bundle", run, "--precision", "int8", "--max-drop", 100, "--out", bundle)
            return ""

        predict = [
            bench.frosthead,
            "-q",
            "predict",
            "-",
            "--format",
            "jsonl",
            "--model",
            bundle,
            "--threads",
            bench.threads,
        ]
        yield Labeller(
            f"frosthead int8, depth {depth}",
            split.tasks,
            [{}],
            fit,
            lambda bundle=bundle, predict=predict: Predictor(bench, bundle, split.tasks, predict),
            lambda text, predict=predict: (predict, line(text)),
            lambda bundle=bundle: bundle.stat().st_size,
        )


def run_ours(bench, *words):
    """Our own program; one that lacks what is asked for is left out like a peer."""
    command = [str(word) for word in (bench.frosthead, "-q", *words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"frosthead {command[2]} ended with status {done.returncode}: {done.stderr}")


def line(text):
    return json.dumps({"text": text}) + "\n"


class Predictor:
    """Our own program behind pipes, asked like a peer: a pass is over when the answer to its last text has come."""

    def __init__(self, bench, bundle, tasks, command):
        self.bench, self.bundle, self.tasks = bench, bundle, tasks
        self.command = [str(word) for word in command]
        self.process, self.texts, self.table = None, [], bundle.with_suffix(".csv")

    def ask(self, command, value):
        return {"texts": self._texts, "labels": self._labels, "pass": self._pass, "singles": self._singles}[
            command
        ](value)

    def stop(self):
        if self.process:
            self.process.communicate()
            self.process = None

    def _texts(self, path):
        # A new process: how it loads the network depends on how many texts come first.
        self.stop()
        self.texts = json.loads(Path(path).read_text(encoding="utf-8"))
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pipesize=PIPE_BYTES
        )
        self._answers()
        return {"texts": len(self.texts)}

    def _answers(self):
        """The lines that answer all texts. A thread writes, as neither end of a pipe waits for the other."""
        asked = "".join(map(line, self.texts))

        def write():
            try:
                self.process.stdin.write(asked)
                self.process.stdin.flush()
            except BrokenPipeError:
                pass

        writer = threading.Thread(target=write)
        writer.start()
        answers = [self.process.stdout.readline() for _ in self.texts]
        writer.join()
        if not answers[-1]:
            raise Unavailable(f"frosthead predict ended with status {self.process.wait()}")
        return answers

    def _labels(self, _):
        rows = [json.loads(answer) for answer in self._answers()]
        return {"labels": {task: [row[f"{task}_predicted"] for row in rows] for task in self.tasks}}

    def _pass(self, _):
        start = time.perf_counter()
        self._answers()
        return {"seconds": time.perf_counter() - start}

    def _singles(self, count):
        write_table(self.table, [{"text": text} for text in self.texts])
        output = self.bench.material.run(
            "bench",
            "latency",
            self.table,
            "--model",
            self.bundle,
            "--limit",
            count,
            "--rounds",
            1,
            "--json",
            "--threads",
            self.bench.threads,
        )
        return {"milliseconds": json.loads(output)["milliseconds"]}
