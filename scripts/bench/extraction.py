"""The job "extraction": a thousand short texts and a hundred long ones to embeddings, every contestant at its defaults and at its best.

Refuses to call one faster whose embeddings differ: each one's cosines to the reference come first.
"""

import json
import shlex
import statistics

from contestants import ours, peers
from environments import relative
from report import settings as in_words
from turns import take_turns

# Below, another computation was made: fp32 differs by rounding only, shorter numbers by what they are.
LEAST_COSINE = {"fp32": 0.9999, "bf16": 0.999, "int8": 0.9}


def measure(bench):
    """One result per set of texts."""
    for name, texts in bench.material.texts().items():
        if not bench.wants(name):
            continue
        print(f"bench: extraction, {name}: {len(texts)}", flush=True)
        yield one_set(bench, name, texts)


def one_set(bench, name, texts):
    whole, part = bench.material.folder / "texts.json", bench.material.folder / "texts-part.json"
    whole.write_text(json.dumps(texts), encoding="utf-8")
    part.write_text(json.dumps(texts[::4]), encoding="utf-8")
    running, vectors, entries = {}, {}, {}
    for contestant in [*ours(bench), *peers(bench)]:
        begun = bench.skips.attempt(contestant.name, lambda: begin(bench, contestant, whole, part))
        if begun:
            running[contestant.name], vectors[contestant.name], sets = begun
            entries |= {
                f"{contestant.name}, {settings['which']}": (contestant, settings) for settings in sets
            }
    measures = {
        label: lambda contestant=contestant, settings=settings: running[contestant.name].ask(
            "pass", settings["settings"]
        )["seconds"]
        for label, (contestant, settings) in entries.items()
    }
    seconds = take_turns(measures, bench.rounds, bench.skips)
    shares = running["frosthead fp32"].shares
    commands = {name: relative(shlex.join(worker.command)) for name, worker in running.items()}
    for worker in running.values():
        worker.stop()
    reference = next(name for name in ("sentence-transformers, torch", "frosthead fp32") if name in vectors)
    rows = []
    for label, taken in seconds.items():
        contestant, settings = entries[label]
        cosines = compare(vectors[contestant.name], vectors[reference], len(texts))
        rows.append(
            {
                "contestant": contestant.name,
                "precision": contestant.precision,
                **settings,
                "seconds": taken,
                "cosine": cosines,
                "command": commands[contestant.name],
                "same": cosines["least"] >= LEAST_COSINE[contestant.precision],
            }
        )
        if contestant.name == "frosthead fp32":
            rows[-1]["share_of_gemm_peak"] = statistics.median(
                shares[str(settings["settings"])][-bench.rounds :]
            )
    return {
        "job": "extraction",
        "set": name,
        "amount": len(texts),
        "unit": "texts/s",
        "reference": reference,
        "rows": rows,
    }


def begin(bench, contestant, whole, part):
    """Starts a contestant, finds its best settings on a part of the texts, and takes its embeddings of all of them."""
    worker = contestant.start()
    worker.ask("texts", str(part))
    # The second pass counts: shapes that are new cost memory allocations.
    trials = [
        (min(worker.ask("pass", settings)["seconds"] for _ in range(2)), place)
        for place, settings in enumerate(contestant.candidates)
    ]
    best = contestant.candidates[min(trials)[1]]
    worker.ask("texts", str(whole))
    path = bench.material.folder / "vectors.f32"
    worker.ask("save", {"settings": contestant.default, "path": str(path)})
    sets = [{"which": "default", "settings": contestant.default}, {"which": "best", "settings": best}]
    for chosen in sets:
        worker.ask("pass", chosen["settings"])
    print(f"bench:   {contestant.name}: best of {len(trials)}: {in_words(best)}", flush=True)
    return worker, read_vectors(path), sets


def read_vectors(path):
    import numpy as np

    return np.fromfile(path, dtype="<f4")


def compare(vectors, reference, texts):
    """Cosines of the rows of two arrays of embeddings, `[texts · hidden]` each."""
    import numpy as np

    vectors, reference = (array.reshape(texts, -1).astype(np.float64) for array in (vectors, reference))
    cosines = (
        (vectors * reference).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(reference, axis=1)
    )
    return {"mean": float(cosines.mean()), "least": float(cosines.min())}
