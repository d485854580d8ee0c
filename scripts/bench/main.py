"""The benchmark: runs the jobs that are asked for and writes results.json, README.md and plot.svg, after every result.

Started by scripts/bench.sh. Refuses to write into benches/runs from a quick run, whose figures mean nothing.
"""

import argparse
import datetime
import itertools
import json
import os
import shlex
import sys
from pathlib import Path

import extraction
import frontier
import growth
import heads
import layers
import machine
import report
import single
import whole
from environments import ROOT, Environments, installed_bytes
from material import Material, with_whole
from turns import Skips

JOBS = {
    "extraction": extraction,
    "single": single,
    "heads": heads,
    "layers": layers,
    "whole": whole,
    "growth": growth,
    "frontier": frontier,
}


class Bench:
    """What every job needs: the program, the material, the environments, and how much to measure."""

    def __init__(self, arguments):
        self.quick, self.rounds, self.threads, self.epochs = (
            arguments.quick,
            arguments.rounds,
            arguments.threads,
            arguments.epochs,
        )
        self.sets, self.table, self.tasks, self.depths = (
            arguments.sets,
            arguments.table,
            arguments.tasks,
            arguments.depths,
        )
        self.frosthead, self.edge, self.runtime = (
            Path(path).resolve() for path in (arguments.frosthead, arguments.edge, arguments.runtime)
        )
        folder = ROOT / ".downloads/bench" / ("quick" if arguments.quick else "full")
        # A store of its own: nothing that was computed elsewhere may stand in for a measurement.
        os.environ |= {
            "FROSTHEAD_CACHE": str(folder / "store"),
            "FROSTHEAD_CONFIG": str(folder / "config"),
            "ORT_DYLIB_PATH": str(self.runtime),
            "HF_HUB_OFFLINE": "1",
        }
        # The same number of threads for everybody, also in libraries that have no option for it.
        os.environ |= {
            f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "OPENBLAS", "MKL", "RAYON")
        }
        self.environments, self.skips = Environments(arguments.all), Skips()
        self.material = Material(
            folder, self.frosthead, ROOT / "models/all-MiniLM-L6-v2", arguments.quick, arguments.data
        )
        self.launches, self.singles = (2, 20) if arguments.quick else (max(5, self.rounds), 200)

    def wants(self, name):
        """Whether a set of a job is to be measured."""
        return self.sets.casefold() in name.casefold()

    def batches(self):
        """How frosthead makes batches when it is told nothing: the tokens in each, and the lengths it pads to."""
        output = self.material.run(
            "bench",
            "embed",
            self.material.table(),
            "--backbone",
            self.material.backbone,
            "--limit",
            8,
            "--rounds",
            1,
            "--json",
        )
        figures = json.loads(output)
        return {"token_budget": figures["token_budget"], "buckets": figures["buckets"]}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh", description="Measures frosthead and its peers in turns on this machine."
    )
    parser.add_argument(
        "--all", action="store_true", help="set up the large peers, too (PyTorch: some 32 GB)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few texts and rounds: shows that everything runs, its figures mean nothing",
    )
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"which of {', '.join(JOBS)} (default: all)")
    parser.add_argument(
        "--sets",
        default="",
        metavar="TEXT",
        help="only those sets of a job whose name contains this, as the tables show it (`top 2`, `long`)",
    )
    parser.add_argument("--rounds", type=int, help="counted rounds (default: 3)")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="threads for everybody (default: all cores)",
    )
    parser.add_argument("--epochs", type=int, default=1, help="epochs of the job `layers` (default: 1)")
    parser.add_argument("--data", help="a folder with further tables (CSV with a column text) for extraction")
    parser.add_argument(
        "--table",
        metavar="CSV",
        help="the labelled table of the job `frontier`, with a column text (default: data/demo.csv)",
    )
    parser.add_argument(
        "--tasks",
        type=lambda text: text.split(","),
        default=["domain", "sentiment"],
        help="its label columns (default: domain,sentiment)",
    )
    parser.add_argument(
        "--depths",
        type=lambda text: [int(depth) for depth in text.split(",")],
        default=[0, 2, 3, 4, 6],
        help="our own depths there (default: 0,2,3,4,6)",
    )
    parser.add_argument(
        "--out",
        help="where to write (default: benches/runs/DATE-MACHINE); what is there is kept but for what is measured again",
    )
    parser.add_argument(
        "--update-docs",
        action="store_true",
        help="write the tables into docs/performance.md, between their markers",
    )
    for name in ("frosthead", "edge", "runtime"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.jobs = arguments.jobs.split(",")
    unknown = [job for job in arguments.jobs if job not in JOBS]
    if unknown:
        parser.error(f"--jobs: unknown {', '.join(unknown)}; there are {', '.join(JOBS)}")
    if arguments.quick and arguments.update_docs:
        parser.error("--quick measures nothing that belongs into docs/performance.md")
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 3)
    if arguments.rounds < 2 or arguments.threads < 1:
        parser.error("it takes two rounds at least, and one thread")
    return arguments


def write(folder, run):
    """results.json, README.md, plot.svg and what the frontiers give to others, each whole at any time."""
    parts = [
        ("results.json", json.dumps(run, indent=1) + "\n"),
        ("README.md", report.page(run)),
        ("plot.svg", report.plot(run["results"])),
    ]
    parts += points(run)
    for name, content in parts:
        with_whole(
            folder / name, lambda temporary, content=content: temporary.write_text(content, encoding="utf-8")
        )


def points(run):
    """Files of points for `frosthead compare --beside`: their names and contents."""
    frontiers = [result for result in run["results"] if result["job"] == "frontier"]
    return [
        (
            frontier.file_name(result["set"]),
            json.dumps(report.frontier_points(result, run["machine"]["processor"]), indent=1) + "\n",
        )
        for result in frontiers
    ]


def read_run(folder):
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def run_folder(runs, described):
    """Today's of this machine, numbered where one of the same name, but another machine, has been there before."""
    stamp = f"{datetime.date.today().isoformat()}-{machine.slug(described)}"
    for number in itertools.count(1):
        folder = runs / (f"{stamp}-{number}" if number > 1 else stamp)
        run = read_run(folder)
        if run is None or machine.same(run["machine"], described):
            return folder


def earlier_run(folder, described):
    """What was measured before and stands until it is measured again: this folder's results, or the newest of the same machine."""
    newest = [folder, *sorted(folder.parent.glob("????-??-??-*"), reverse=True)]
    runs = filter(None, map(read_run, newest))
    found = next((run for run in runs if machine.same(run["machine"], described)), None)
    return found or {"results": [], "problems": {}}


def main():
    arguments = parse()
    bench = Bench(arguments)
    described = machine.describe(arguments.threads)
    named = arguments.out or (bench.material.folder / "results" if arguments.quick else None)
    folder = Path(named) if named else run_folder(ROOT / "benches/runs", described)
    there = read_run(folder)
    if there and not machine.same(there["machine"], described):
        sys.exit(
            f"bench: {folder} has another machine's figures ({there['machine']['processor']}): choose another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    earlier = earlier_run(folder, described)
    results = {(result["job"], result["set"]): result for result in earlier["results"]}
    bench.skips.reasons |= earlier["problems"]
    shown = [word for word in sys.argv[1:] if not word.startswith(("--frosthead", "--edge", "--runtime"))]
    about = {"command": shlex.join(["./scripts/bench.sh", *shown]), "commit": machine.commit()}
    for name in arguments.jobs:
        bench.skips.job, load = name, os.getloadavg()[0]
        bench.skips.reasons.pop(name, None)
        for result in JOBS[name].measure(bench):
            measured = {
                "measured": datetime.datetime.now().isoformat(timespec="seconds"),
                "load_before": load,
            }
            results[result["job"], result["set"]] = result | about | measured
            write(folder, whole_run(bench, described, list(results.values())))
    print(report.tables(list(results.values())))
    print(f"\nbench: {folder}/README.md", file=sys.stderr)
    if arguments.update_docs:
        page = ROOT / "docs/performance.md"
        report.update_page(
            page, whole_run(bench, described, list(results.values())), os.path.relpath(folder, page.parent)
        )


def whole_run(bench, described, results):
    installed = machine.peers()
    cuda = {name: installed_bytes(name)["cuda"]["packages"] for name in installed}
    return {
        "machine": described,
        "peers": installed,
        "telling": machine.TELLING,
        "cuda": cuda,
        "problems": bench.skips.reasons,
        "results": results,
    }


if __name__ == "__main__":
    main()
