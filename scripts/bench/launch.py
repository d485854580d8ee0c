"""Runs one command and prints its seconds and its peak memory as JSON.

usage: launch.py INPUT COMMAND…        INPUT is what the command reads on standard input

A process of its own because a child's peak counts the memory of the process that it was forked from: this one is small. Refuses
nothing; the command's exit status is in the answer.
"""

import json
import resource
import subprocess
import sys
import time

start = time.perf_counter()
done = subprocess.run(
    sys.argv[2:], input=sys.argv[1].encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(
    json.dumps(
        {
            "seconds": seconds,
            "peak_rss_bytes": peak,
            "status": done.returncode,
            "stderr": done.stderr.decode()[-400:],
        }
    )
)
