"""Runs the program for aarch64 under emulation, as several processors, and compares what it says with what the one for x86-64 said.

    python3 scripts/aarch64_test.py FOLDER EDITION AARCH64-PROGRAM X86-PROGRAM DOWNLOADS

FOLDER holds the bundles and tables of test-aarch64.sh; EDITION is `full` or `edge` (which neither serves nor refits). Both programs run
on the C libraries of the oldest Debian, from DOWNLOADS/root-ARCHITECTURE. Emulation proves what is computed, never time or memory.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

# What qemu calls a processor: what `doctor` must find in it, and how it multiplies 8-bit codes then.
PROCESSORS = {
    "cortex-a53": (["neon"], "pairs of products in 16 bits"),
    "cortex-a72": (["neon"], "pairs of products in 16 bits"),
    "cortex-a76": (["neon", "dotprod"], "(dotprod)"),
    "max": (["neon", "dotprod", "i8mm", "bf16"], "(i8mm)"),
}
BUNDLES = ["fp32", "int8", "w8", "shallow"]
TASKS = ["domain", "sentiment"]
# How far a probability may be from the one on x86-64.
BOUND = 0.004
PATIENCE = 600


def said(message):
    print(f"aarch64: {message}", flush=True)


class Machine:
    """A processor, by emulation or as it is, with the C libraries of the oldest Debian."""

    def __init__(self, name, program, runtime, command):
        self.name, self.program, self.runtime, self.command = name, program, runtime, command

    def start(self, *arguments, runtime=None, **streams):
        environment = {"ORT_DYLIB_PATH": runtime or self.runtime, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        return subprocess.Popen([*self.command, self.program, *arguments], env=environment, text=True, stdin=subprocess.DEVNULL, **streams)

    def run(self, *arguments, runtime=None, expected=0):
        """What the command prints, and what it says."""
        process = self.start(*arguments, runtime=runtime, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, messages = process.communicate(timeout=PATIENCE)
        assert process.returncode == expected, f"{self.name}: {arguments} exits with {process.returncode}:\n{output}{messages}"
        return output, messages

    def json(self, *arguments):
        return json.loads(self.run("--quiet", *arguments, "--json")[0])

    def predictions(self, bundle, texts):
        output, _ = self.run("--quiet", "predict", texts, "--model", bundle, "--all-probabilities")
        return [json.loads(line) for line in output.splitlines()]


def probabilities(row):
    return {name: value for name, value in row.items() if "_probability_" in name}


def compare(found, expected):
    """The largest difference of a probability; labels must be equal."""
    assert len(found) == len(expected) > 0
    largest = 0.0
    for own, other in zip(found, expected):
        for task in TASKS:
            assert own[f"{task}_predicted"] == other[f"{task}_predicted"], (own, other)
        mine, others = probabilities(own), probabilities(other)
        assert mine.keys() == others.keys() and len(mine) > len(TASKS), (own, other)
        differences = [abs(mine[name] - others[name]) for name in mine]
        assert all(map(math.isfinite, differences)), own
        largest = max(largest, *differences)
    return largest


def check_processor(machine, wanted, kernel, folder):
    doctor = machine.json("doctor")
    assert doctor["library"].startswith(os.path.realpath(machine.runtime)), doctor["library"]
    assert set(wanted) <= set(doctor["features"]), (machine.name, doctor["features"])
    if "dotprod" not in wanted:
        assert "dotprod" not in doctor["features"], (machine.name, doctor["features"])
    opened = machine.json("doctor", f"{folder}/int8.frost", "--memory", "1G")["model"]
    assert kernel in opened["kernel"], opened["kernel"]
    assert 0 < opened["memory"]["rehearsed"] < opened["memory"]["limit"] == 1 << 30, opened["memory"]
    # A limit that nothing can keep is refused with what would be enough.
    _, messages = machine.run("doctor", f"{folder}/int8.frost", "--memory", "16M", expected=2)
    assert "memory" in messages, messages


def check_bundles(machine, folder, expected):
    """Predictions by bundle; every one passes its self-test before."""
    all_found = {}
    for name in BUNDLES:
        test = machine.json("doctor", f"{folder}/{name}.frost")["model"]["self_test"]
        found = all_found[name] = machine.predictions(f"{folder}/{name}.frost", f"{folder}/texts.csv")
        largest = compare(found, expected[name])
        said(f"{machine.name} {name}: {len(found)} texts with equal labels, probabilities within {largest:.1e} of x86-64's, "
             f"self-test {test['largest_difference']:.1e} of {test['tolerance']:.1e}")
        assert test["sentences"] == 3 and test["largest_difference"] <= test["tolerance"] / 2, (machine.name, name, test)
        assert largest <= BOUND, (machine.name, name, largest)
    return all_found


def check_codes(found):
    """With and without dot-product instructions the codes, and so the sums of their products, are the same."""
    first, *others = found
    for name in others:
        same = [bundle for bundle in BUNDLES if found[name][bundle] == found[first][bundle]]
        largest = max(compare(found[name][bundle], found[first][bundle]) for bundle in BUNDLES)
        said(f"{name} and {first}: to the bit {', '.join(same) or 'nothing'}; all within {largest:.1e}")
        assert {"int8", "shallow"} <= set(same) or name == "max", (name, same)


def check_refit(machine, folder, expected):
    target = f"{folder}/refitted-{machine.name}.frost"
    machine.run("--quiet", "refit", f"{folder}/int8.frost", f"{folder}/few.csv", "--task", "domain", "--cache", f"{folder}/cache-{machine.name}",
                "--out", target, "--overwrite")
    rows = machine.predictions(target, f"{folder}/texts.csv")
    equal = sum(own["domain_predicted"] == other["domain_predicted"] for own, other in zip(rows, expected))
    said(f"{machine.name} refit: {equal} of {len(rows)} labels are those of the bundle before, which more rows were seen for")
    assert equal >= 0.7 * len(rows), equal
    assert [own["sentiment_predicted"] for own in rows] == [own["sentiment_predicted"] for own in expected]


def check_serve(machine, folder, expected):
    server = machine.start("serve", f"{folder}/int8.frost", "--bind", "127.0.0.1:0", "--log", "json", stderr=subprocess.PIPE)
    try:
        address = None
        for line in server.stderr:
            if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
                address = event["address"]
                break
        assert address, f"{machine.name}: the server ended with {server.wait(PATIENCE)}"
        texts = [row["text"] for row in expected[:8]]
        body = json.dumps({"texts": texts}).encode()
        request = urllib.request.Request(f"{address}/v1/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            results = json.load(reply)["results"]
        for own, other in zip(results, expected):
            for task in TASKS:
                assert own["tasks"][task]["label"] == other[f"{task}_predicted"], (own, other)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0, server.returncode
        said(f"{machine.name} serve: {len(results)} texts answered, ended with 0")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def check_wrong_library(machine, other, found, expected):
    _, messages = machine.run("doctor", runtime=other, expected=2)
    wanted = f"a library for {found} processors, this program is for {expected}"
    assert wanted in messages and os.path.basename(other) in messages, messages
    said(f"{machine.name} refuses the library: {wanted}")


def check_version(program):
    """No symbol of a C library newer than ONNX Runtime's own."""
    text = subprocess.run(["readelf", "--version-info", "--wide", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    newest = max(tuple(map(int, number.split("."))) for number in re.findall(r"GLIBC_([0-9.]+)", text))
    said(f"{os.path.basename(program)}: {os.path.getsize(program) / 1e6:.2f} MB, needs glibc {'.'.join(map(str, newest))}")
    assert newest <= (2, 28), newest


def main():
    folder, edition, program, x86_program, downloads = sys.argv[1:]
    downloads = os.path.abspath(downloads)
    (x86_runtime,) = [f"{downloads}/onnxruntime/{name}" for name in os.listdir(f"{downloads}/onnxruntime") if ".so.1." in name]
    runtime = x86_runtime.replace("/onnxruntime/", "/onnxruntime-aarch64/")
    root = f"{downloads}/root-amd64"
    # The loader is an absolute link: its target in the root folder.
    loader = [root + os.readlink(f"{root}/lib64/ld-linux-x86-64.so.2"), "--inhibit-cache", "--library-path",
              f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"]
    here = Machine("x86-64", x86_program, x86_runtime, loader)
    emulated = {
        name: Machine(name, program, runtime, [f"{downloads}/qemu/usr/bin/qemu-aarch64", "-cpu", name, "-L", f"{downloads}/root-arm64"])
        for name in PROCESSORS
    }
    for own in (program, x86_program):
        check_version(own)
    start = time.monotonic()
    expected = {name: here.predictions(f"{folder}/{name}.frost", f"{folder}/texts.csv") for name in BUNDLES}
    check_wrong_library(here, runtime, "AArch64", "x86-64")
    check_wrong_library(emulated["max"], x86_runtime, "x86-64", "AArch64")
    found = {}
    for name, (features, kernel) in PROCESSORS.items():
        check_processor(emulated[name], features, kernel, folder)
        found[name] = check_bundles(emulated[name], folder, expected)
    check_codes(found)
    if edition == "full":
        for name in PROCESSORS:
            check_refit(emulated[name], folder, expected["int8"])
            check_serve(emulated[name], folder, expected["int8"])
    said(f"all passed in {time.monotonic() - start:.0f} s")


main()
