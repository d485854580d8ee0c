"""Runs a command in a memory control group (v1) of SIZE MiB, and says how long it took and how much memory: 0 is no limit. As root.

scripts/measure-memory.py 96 target/release/frosthead predict data/demo.csv --model x.frost --memory 96M -v
"""

import os
import subprocess
import sys
import time

limit, command = int(sys.argv[1]), sys.argv[2:]
group = f"/sys/fs/cgroup/memory/frosthead-{os.getpid()}"


def join():
    if limit:
        with open(f"{group}/cgroup.procs", "w") as processes:
            processes.write(str(os.getpid()))


if limit:
    os.mkdir(group)
    with open(f"{group}/memory.limit_in_bytes", "w") as file:
        file.write(str(limit << 20))
start = time.monotonic()
child = subprocess.Popen(command, preexec_fn=join, stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
seconds = time.monotonic() - start
failures = open(f"{group}/memory.failcnt").read().strip() if limit else "-"
print(
    f"exit {os.waitstatus_to_exitcode(status)}, {seconds:.2f} s, peak {usage.ru_maxrss / 1024:.1f} MiB, limit met {failures} times"
)
if limit:
    os.rmdir(group)
