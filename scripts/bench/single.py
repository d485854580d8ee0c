"""The job "single text": what a process costs that answers one text at a time: latency, cold start, peak memory, installed size.

Refuses to count what a machine may be without: CUDA packages are subtracted, and named beside the size.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from contestants import ours, peers
from environments import Unavailable
from turns import percentile, spread, take_turns

TEXT = "Great phone, the battery lasts two days and I would buy it again!"


def measure(bench):
    print("bench: single text", flush=True)
    contestants = [*ours(bench), *peers(bench)]
    # Batches mean nothing here, so the loop with other batches is the loop.
    contestants = {
        contestant.name: contestant
        for contestant in contestants
        if contestant.name != "plain loop, our batches"
    }
    latency = latencies(bench, contestants)
    launches = {name: [] for name in contestants}

    def cold(contestant):
        launched = launch(*contestant.once(TEXT))
        launches[contestant.name].append(launched["peak_rss_bytes"])
        return launched["seconds"]

    measures = {
        name: lambda contestant=contestant: cold(contestant) for name, contestant in contestants.items()
    }
    # The first launch reads the files from the disk; it is not counted.
    warm = take_turns(measures, 1, bench.skips)
    seconds = take_turns({name: measures[name] for name in warm}, bench.launches, bench.skips)
    rows = []
    for name, taken in seconds.items():
        sizes = contestants[name].sizes()
        counted = sum(size for what, size in sizes.items() if "not counted" not in what)
        rows.append(
            {
                "contestant": name,
                "precision": contestants[name].precision,
                "cold_seconds": taken,
                "latency": latency.get(name),
                "peak_rss_bytes": statistics.median(launches[name][1:]),
                "installed_bytes": counted,
                "sizes": sizes,
            }
        )
    yield {"job": "single text", "set": "one sentence", "rows": rows}


def latencies(bench, contestants):
    """{name: median, 95th and 99th percentile in milliseconds, of each round}, the rounds taken in turns."""
    texts = next(iter(bench.material.texts().values()))
    path, count = bench.material.folder / "texts-single.json", bench.singles
    path.write_text(json.dumps(texts[:count]), encoding="utf-8")
    running, found = {}, {}

    def start(contestant):
        worker = contestant.start()
        worker.ask("texts", str(path))
        # Not counted: shapes that are new cost memory allocations.
        worker.ask("singles", count)
        return worker

    for name, contestant in contestants.items():
        worker = bench.skips.attempt(name, lambda: start(contestant))
        if worker:
            running[name] = worker

    def pass_of(name):
        answer = running[name].ask("singles", count)
        figures = answer.get("milliseconds") or percentiles([1000 * seconds for seconds in answer["seconds"]])
        found.setdefault(name, []).append({key: figures[key] for key in ("p50", "p95", "p99")})
        return figures["p50"]

    take_turns({name: lambda name=name: pass_of(name) for name in running}, bench.rounds, bench.skips)
    for worker in running.values():
        worker.stop()
    return {
        name: {key: spread([figures[key] for figures in rounds]) for key in ("p50", "p95", "p99")}
        for name, rounds in found.items()
    }


def percentiles(milliseconds):
    return {
        "p50": percentile(milliseconds, 0.5),
        "p95": percentile(milliseconds, 0.95),
        "p99": percentile(milliseconds, 0.99),
    }


def launch(command, text):
    """Runs a command to its end: seconds and peak memory of the whole process."""
    words = [str(word) for word in command]
    # -S -I: a small process, whose memory is not the child's.
    launcher = [sys.executable, "-S", "-I", str(Path(__file__).with_name("launch.py")), text, *words]
    launched = json.loads(subprocess.run(launcher, check=True, capture_output=True, text=True).stdout)
    if launched["status"] != 0:
        raise Unavailable(f"ended with status {launched['status']}: {launched['stderr']}")
    return launched
