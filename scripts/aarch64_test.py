"""Runs the package for arm64 under emulation, as several processors, and compares it with the one for amd64.

    python3 scripts/aarch64_test.py FOLDER EDITION

FOLDER is where test-aarch64.sh put bundles, tables, and two root folders of the oldest Debian with a package
unpacked in each; EDITION is `full` or `edge` (which neither serves nor refits). The program runs in its root
folder, and finds the package's ONNX Runtime there by itself. EDITION `wheel` is the Python package in a root
folder with Python, compared with this machine's own program. Emulation proves what is computed, never time
or memory.
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
# How far a probability may be from the one on x86-64: in int8 .0138 was seen, beside processors with and without
# AMX, where a code falls on the other side of a rounding edge.
BOUND = 0.03
# Seconds for one command: fp32 under emulation takes minutes on a busy machine.
PATIENCE = 1800
PROGRAM = "/usr/bin/frosthead"
LIBRARY = "/usr/lib/frosthead/"
PACKAGES = "/usr/lib/python3/dist-packages/"
# Where the root folders see FOLDER.
HERE = "/test"
# Enters a root folder, $1, with FOLDER, $2, and what a system has; these mounts end with the process.
ENTER = """
set -e
root=$1 folder=$2
shift 2
for kind in proc sys dev; do mount --rbind "/$kind" "$root/$kind"; done
mount --bind "$folder" "$root/test"
exec env -i LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin HOME=/test/home chroot "$root" "$@"
"""


def said(message):
    print(f"aarch64: {message}", flush=True)


class Machine:
    """A processor, as it is or by emulation, with a root folder of the oldest Debian."""

    def __init__(self, name, folder, root, emulator=(), program=(PROGRAM,)):
        self.name, self.folder, self.command = name, folder, [*emulator, *program]
        self.root = f"{folder}/root-{root}"

    def start(self, *arguments, **streams):
        enter = ["unshare", "--map-root-user", "--mount", "sh", "-c", ENTER, "enter", self.root, self.folder]
        command = [*enter, *self.command, *arguments]
        return subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, **streams)

    def run(self, *arguments, expected=0):
        """What the command prints, and what it says."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, messages = process.communicate(timeout=PATIENCE)
        finally:
            # Where it has not ended by itself, nobody waits for it any more.
            process.kill()
        assert process.returncode == expected, (
            f"{self.name}: {arguments} exits with {process.returncode}:\n{output}{messages}"
        )
        return output, messages

    def json(self, *arguments):
        return json.loads(self.run("--quiet", *arguments, "--json")[0])

    def predictions(self, bundle):
        output, _ = self.run(
            "--quiet",
            "predict",
            f"{HERE}/texts.csv",
            "--model",
            f"{HERE}/{bundle}.frost",
            "--all-probabilities",
        )
        return [json.loads(line) for line in output.splitlines()]


def probabilities(row):
    return {name: value for name, value in row.items() if "_probability_" in name}


def compare(found, expected):
    """The largest difference of a probability; labels must be equal."""
    assert len(found) == len(expected) > 0
    largest = 0.0
    for row, other in zip(found, expected):
        for task in TASKS:
            assert row[f"{task}_predicted"] == other[f"{task}_predicted"], (row, other)
        mine, others = probabilities(row), probabilities(other)
        assert mine.keys() == others.keys() and len(mine) > len(TASKS), (row, other)
        differences = [abs(mine[name] - others[name]) for name in mine]
        assert all(map(math.isfinite, differences)), row
        largest = max(largest, *differences)
    return largest


def check_processor(machine, wanted, kernel, library=LIBRARY):
    doctor = machine.json("doctor")
    assert doctor["library"].startswith(library), doctor["library"]
    assert set(wanted) <= set(doctor["features"]), (machine.name, doctor["features"])
    if "dotprod" not in wanted:
        assert "dotprod" not in doctor["features"], (machine.name, doctor["features"])
    opened = machine.json("doctor", f"{HERE}/int8.frost", "--memory", "1G")["model"]
    assert kernel in opened["kernel"], opened["kernel"]
    memory = opened["memory"]
    assert 0 < memory["rehearsed"] < memory["limit"] == 1 << 30, memory
    # A limit that nothing can keep is refused with what would be enough.
    _, messages = machine.run("doctor", f"{HERE}/int8.frost", "--memory", "16M", expected=2)
    assert "memory" in messages, messages


def check_bundles(machine, expected):
    """Predictions by bundle; every one passes its self-test before."""
    all_found = {}
    for name in BUNDLES:
        test = machine.json("doctor", f"{HERE}/{name}.frost")["model"]["self_test"]
        found = all_found[name] = machine.predictions(name)
        largest = compare(found, expected[name])
        difference, tolerance = test["largest_difference"], test["tolerance"]
        said(
            f"{machine.name} {name}: {len(found)} texts with equal labels, probabilities within "
            f"{largest:.1e} of x86-64's, self-test {difference:.1e} of {tolerance:.1e}"
        )
        assert test["sentences"] == 3 and difference <= tolerance / 2, (machine.name, name, test)
        assert largest <= BOUND, (machine.name, name, largest)
    return all_found


def check_codes(found):
    """With and without dot-product instructions the codes, and the sums of their products, are the same."""
    first, *others = found
    for name in others:
        same = [bundle for bundle in BUNDLES if found[name][bundle] == found[first][bundle]]
        largest = max(compare(found[name][bundle], found[first][bundle]) for bundle in BUNDLES)
        said(f"{name} and {first}: to the bit {', '.join(same) or 'nothing'}; all within {largest:.1e}")
        assert {"int8", "shallow"} <= set(same) or name == "max", (name, same)


def check_refit(machine, expected):
    name = f"refitted-{machine.name}"
    machine.run(
        "--quiet",
        "refit",
        f"{HERE}/int8.frost",
        f"{HERE}/few.csv",
        "--task",
        "domain",
        "--cache",
        f"{HERE}/cache-{machine.name}",
        "--out",
        f"{HERE}/{name}.frost",
        "--overwrite",
    )
    rows = machine.predictions(name)
    equal = sum(row["domain_predicted"] == other["domain_predicted"] for row, other in zip(rows, expected))
    said(
        f"{machine.name} refit: {equal} of {len(rows)} labels are those of the bundle before, "
        "which more rows were seen for"
    )
    assert equal >= 0.7 * len(rows), equal
    assert [row["sentiment_predicted"] for row in rows] == [row["sentiment_predicted"] for row in expected]


def check_serve(machine, expected):
    server = machine.start(
        "serve", f"{HERE}/int8.frost", "--bind", "127.0.0.1:0", "--log", "json", stderr=subprocess.PIPE
    )
    try:
        address = None
        for line in server.stderr:
            if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
                address = event["address"]
                break
        assert address, f"{machine.name}: the server ended with {server.wait(PATIENCE)}"
        body = json.dumps({"texts": [row["text"] for row in expected[:8]]}).encode()
        request = urllib.request.Request(f"{address}/v1/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            results = json.load(reply)["results"]
        assert len(results) == 8, results
        for result, row in zip(results, expected):
            for task in TASKS:
                assert result["tasks"][task]["label"] == row[f"{task}_predicted"], (result, row)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0, server.returncode
        said(f"{machine.name} serve: {len(results)} texts answered, ended with 0")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def check_wrong_library(machine, architecture, found, expected):
    """The other package's library is refused by name."""
    name = next(name for name in os.listdir(machine.root + LIBRARY) if name.startswith("libonnxruntime.so."))
    other = f"{HERE}/root-{architecture}{LIBRARY}{name}"
    _, messages = machine.run("doctor", "--onnxruntime", other, expected=2)
    wanted = f"a library for {found} processors, this program is for {expected}"
    # Folded where it is no terminal.
    assert wanted in " ".join(messages.split()) and name in messages, messages
    said(f"{machine.name} refuses the library: {wanted}")


def check_version(machine):
    """No symbol of a C library newer than ONNX Runtime's own."""
    program = machine.root + PROGRAM
    text = subprocess.check_output(["readelf", "--version-info", "--wide", program], text=True)
    newest = max(tuple(map(int, number.split("."))) for number in re.findall(r"GLIBC_([0-9.]+)", text))
    said(f"{machine.name}: {os.path.getsize(program) / 1e6:.2f} MB, needs glibc {'.'.join(map(str, newest))}")
    assert newest <= (2, 28), newest


def check_wheel(folder):
    """The package's command and its classes, on one processor."""
    name = "cortex-a72"
    python = ["/usr/bin/python3.11", "-B"]
    emulator = ["/qemu-aarch64", "-cpu", name]
    command = Machine(f"wheel, {name}", folder, "python", emulator, [*python, "-m", "frosthead"])
    check_processor(command, *PROCESSORS[name], library=PACKAGES + "onnxruntime/")
    program = os.path.abspath("target/release/frosthead")
    expected = {}
    for bundle in BUNDLES:
        arguments = ["predict", f"{folder}/texts.csv", "--model", f"{folder}/{bundle}.frost"]
        output = subprocess.check_output([program, "--quiet", *arguments, "--all-probabilities"], text=True)
        expected[bundle] = [json.loads(line) for line in output.splitlines()]
    found = check_bundles(command, expected)["int8"]
    texts = json.dumps([row["text"] for row in found])
    code = (
        f"import frosthead, json; classifier = frosthead.Classifier('{HERE}/int8.frost'); "
        f"texts = json.loads({texts!r}); probabilities = classifier.predict_proba(texts); "
        "print(json.dumps({task: [classifier.labels[task], rows.astype(float).tolist()] "
        "for task, rows in probabilities.items()}))"
    )
    output, _ = Machine(command.name, folder, "python", emulator, [*python, "-c", code]).run()
    for task, (labels, rows) in json.loads(output).items():
        for row, other in zip(rows, found, strict=True):
            for label, value in zip(labels, row, strict=True):
                assert abs(value - other[f"{task}_probability_{label}"]) < 1e-6, (task, label, value, other)
    said(f"{command.name}: Classifier.predict_proba is what the command says")


def main():
    folder, edition = os.path.abspath(sys.argv[1]), sys.argv[2]
    if edition == "wheel":
        check_wheel(folder)
        return
    here = Machine("x86-64", folder, "amd64")
    emulated = {name: Machine(name, folder, "arm64", ["/qemu-aarch64", "-cpu", name]) for name in PROCESSORS}
    check_version(here)
    check_version(emulated["max"])
    start = time.monotonic()
    expected = {name: here.predictions(name) for name in BUNDLES}
    check_wrong_library(here, "arm64", "AArch64", "x86-64")
    check_wrong_library(emulated["max"], "amd64", "x86-64", "AArch64")
    found = {}
    for name, (features, kernel) in PROCESSORS.items():
        check_processor(emulated[name], features, kernel)
        found[name] = check_bundles(emulated[name], expected)
    check_codes(found)
    if edition == "full":
        for machine in emulated.values():
            check_refit(machine, expected["int8"])
            check_serve(machine, expected["int8"])
    said(f"all passed in {time.monotonic() - start:.0f} s")


main()
