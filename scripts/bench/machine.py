"""What the figures depend on: processor, memory, system, versions, commit.

Refuses to name the host or its user: results are meant to be published.
"""

import os
import platform
import re
import subprocess
from pathlib import Path

from environments import HOME, ROOT, versions

# Of everything that is installed, what decides speed; the rest is in results.json.
TELLING = (
    "fastembed",
    "fasttext-numpy2-wheel",
    "model2vec",
    "nncf",
    "numpy",
    "onnxruntime",
    "openvino",
    "optimum-intel",
    "optimum-onnx",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "setfit",
    "tokenizers",
    "torch",
    "transformers",
)


def describe(threads):
    information = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", information, re.MULTILINE)
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text()).group(1)
    return {
        "processor": model.group(1) if model else platform.machine(),
        "instructions": instructions(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "threads": threads,
        "memory_bytes": int(memory) * 1024,
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
    }


def instructions():
    """Those that multiply fast."""
    flags = re.search(r"^flags\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    known = set(flags.group(1).split()) if flags else set()
    return sorted(flag for flag in known if flag.startswith(("avx", "amx", "fma")))


def slug(machine):
    words = re.sub(r"\([^)]*\)|[^A-Za-z0-9]+", " ", machine["processor"]).lower().split()
    return "-".join([*words, str(machine["cores_allowed"]), "cores"])


def same(one, other):
    """Whether two descriptions are of machines whose figures can stand in one table: a processor's name alone does not say it."""
    return all(one[what] == other[what] for what in ("processor", "instructions", "cores_allowed"))


def commit():
    """The commit, marked when the tree differs from it; None outside of a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or None


def peers():
    """{peer: {package: version}} of what is set up."""
    return {
        folder.name: versions(folder.name)
        for folder in sorted(HOME.glob("*"))
        if (folder / "requirements.txt").is_file()
    }
