"""How the benchmark drives a peer that lives in its own process and environment: one JSON object a line each way.

Refuses to let a library's own printing into the answers: what is written to standard output goes to standard error.
A question is {"command": value}; the answer an object, or {"error": text}.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path


def answers():
    """The stream of answers: the standard output that this process was started with."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def serve(handlers, out):
    """Answers until standard input ends. `handlers`: {command: function of its value, returning an object}."""
    for line in sys.stdin:
        try:
            [(command, value)] = json.loads(line).items()
            answer = handlers[command](value)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=out, flush=True)


def serve_embedding(load):
    """A peer that embeds texts. `load(options)` returns `embed(texts, settings)`, which returns `[texts, hidden]` floats.

    usage: PEER.py OPTIONS          serve (OPTIONS: JSON)
           PEER.py OPTIONS TEXT     embed one text, print its first number, and end: what a cold start is measured by
    """
    out = answers()
    embed = load(json.loads(sys.argv[1]))
    if len(sys.argv) > 2:
        print(float(embed([sys.argv[2]], {})[0][0]), file=out)
        return
    texts = []

    def read(path):
        texts[:] = json.loads(Path(path).read_text(encoding="utf-8"))
        return {"texts": len(texts)}

    def timed(settings):
        start = time.perf_counter()
        embed(texts, settings)
        return {"seconds": time.perf_counter() - start}

    def save(request):
        import numpy as np

        np.asarray(embed(texts, request["settings"]), dtype="<f4").tofile(request["path"])
        return {"texts": len(texts)}

    def singles(count):
        seconds = []
        for text in texts[:count]:
            start = time.perf_counter()
            embed([text], {})
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    serve({"texts": read, "pass": timed, "save": save, "singles": singles}, out)
