"""The peers' own virtual environments under .downloads/peers/NAME, pinned by version and hash.

Refuses to share one environment among peers (their requirements exclude each other, and each one's size is measured), and to
hide a failure: a peer that cannot be installed is listed with what the installer said.

usage: environments.py NAME         sets this one up and prints its interpreter
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "scripts/peers"
HOME = ROOT / ".downloads/peers"
# A peer of several gigabytes (it brings PyTorch) is set up only when asked for.
LARGE = (
    "sentence-transformers",
    "sentence-transformers-onnx",
    "sentence-transformers-openvino",
    "model2vec",
    "setfit",
)
# What PyTorch's default wheels for Linux bring for NVIDIA's GPUs; and what is not deployed: what only our own peer scripts read with, or
# the making of an 8-bit variant.
CUDA = ("nvidia_", "nvidia-", "cuda_", "cuda-", "triton-")
# … and the parts for CUDA of PyTorch's own package.
TORCH_CUDA = ("libtorch_cuda*.so", "libc10_cuda.so", "libtorch_nvshmem.so")
OURS = {
    "sentence-transformers": ("pyarrow-",),
    "sentence-transformers-openvino": ("datasets-", "pandas-", "pyarrow-"),
}
# The Python that this one's environment was made from, which has pip.
BASE = str(Path(sys.base_prefix) / "bin/python3")


class Unavailable(Exception):
    """A peer cannot take part; the message says why, in a line."""

    def __init__(self, reason):
        # The end of an output says what was wrong; where the project lies is nobody's business.
        super().__init__(relative(" ".join(reason.split()))[-500:])


class Environments:
    def __init__(self, large):
        self.large = large
        self.problems = {}

    def python(self, name):
        """The interpreter of a peer's environment, set up when it is missing."""
        if name in self.problems:
            raise Unavailable(self.problems[name])
        try:
            if name in LARGE and not self.large:
                raise Unavailable("several gigabytes, only set up with --all")
            return self._set_up(name)
        except Unavailable as problem:
            self.problems[name] = str(problem)
            raise

    def rust(self, name):
        """The binary of a peer that is a Rust program, built outside of our own workspace."""
        if name in self.problems:
            raise Unavailable(self.problems[name])
        target = HOME / name
        try:
            run(
                [
                    "cargo",
                    "build",
                    "--release",
                    "--quiet",
                    "--locked",
                    "--manifest-path",
                    str(PEERS / name / "Cargo.toml"),
                    "--target-dir",
                    str(target),
                ]
            )
        except Unavailable as problem:
            self.problems[name] = str(problem)
            raise
        return target / "release" / name

    def _set_up(self, name):
        folder, wanted = HOME / name, PEERS / "requirements" / f"{name}.txt"
        stamp, python = folder / "requirements.txt", folder / "bin/python"
        if stamp.is_file() and stamp.read_bytes() == wanted.read_bytes():
            return python
        print(f"bench: setting up {name}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        # Without pip, so that only what the peer needs is in there and counted.
        run([BASE, "-m", "venv", "--without-pip", str(folder)])
        run(
            [
                BASE,
                "-m",
                "pip",
                "--python",
                str(python),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                "--require-hashes",
                "-r",
                str(wanted),
            ]
        )
        # Last, so that an interrupted installation is done again.
        shutil.copyfile(wanted, stamp)
        return python


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command[:6])} … failed: {done.stdout[-400:]}")


def relative(text):
    """The text with paths relative to the project."""
    return text.replace(f"{ROOT}/", "").replace(str((ROOT / ".downloads").resolve()), ".downloads")


def versions(name):
    """{package: version} of an environment, by what is installed there."""
    found = {}
    for info in site_packages(name).glob("*.dist-info"):
        package, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        found[package.replace("_", "-").lower()] = version
    return dict(sorted(found.items()))


def site_packages(name):
    return next((HOME / name / "lib").glob("python3.*")) / "site-packages"


@functools.cache
def installed_bytes(name):
    """Bytes of an environment's packages: all, those for CUDA, and those that only our scripts need, each with their names."""
    packages = site_packages(name)
    whole = tree_bytes(packages)
    parts = {"all": {"bytes": whole, "packages": len(list(packages.glob("*.dist-info")))}}
    for part, prefixes in (("cuda", CUDA), ("ours", OURS.get(name, ()))):
        infos = [info for info in packages.glob("*.dist-info") if prefixes and info.name.startswith(prefixes)]
        parts[part] = {
            "bytes": sum(map(recorded_bytes, infos)),
            "packages": sorted(info.name.removesuffix(".dist-info") for info in infos),
        }
    libraries = [library for pattern in TORCH_CUDA for library in packages.glob(f"torch/lib/{pattern}")]
    parts["cuda"]["bytes"] += sum(library.stat().st_size for library in libraries)
    parts["cuda"]["packages"] += [f"torch/lib/{library.name}" for library in libraries]
    return parts


def recorded_bytes(info):
    """Bytes of one package: the files that its RECORD lists."""
    files = (line.rsplit(",", 2)[0].strip('"') for line in (info / "RECORD").read_text().splitlines())
    return sum((info.parent / file).stat().st_size for file in files if (info.parent / file).is_file())


def tree_bytes(folder):
    return sum(os.lstat(Path(base) / name).st_size for base, _, names in os.walk(folder) for name in names)


if __name__ == "__main__":
    try:
        print(Environments(large=False).python(sys.argv[1]))
    except Unavailable as problem:
        sys.exit(f"bench: {problem}")
