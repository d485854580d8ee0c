"""Runs the commands of README.md, docs/ and examples/, and compares what they print with what the pages say.

usage: docs_test.py FROSTHEAD [--update] [--record NAME] [PAGE …]      (scripts/test-docs.sh finds the program)

A block that begins with ```console is run, in a fresh folder, in the order of docs/SUMMARY.md. One that begins with
```console recorded=NAME takes too long: it is compared with docs/recorded/NAME.txt, and `--record NAME` runs it. Of
both, and of blocks that begin with ```sh, every option must be one that its command has.

How a page's output is compared:
  …                    on a line of its own: any lines; within a line: any text
  2.6 s, 500 texts/s   times and speeds: any number; a duration may have other units
  90.8 MB              sizes: within a fifth
  0.918, 4352.91       numbers with a point: within 0.02 and a fiftieth; with an exponent: any
  4,722                whole numbers: equal
  spaces               any number of spaces
Lines that only tell of progress are left out ("… 5 s so far", "… 26 s left"), and the folder in which all is run.

It also refuses links that lead nowhere, pages that the summary does not name, and what is too wide or too long.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "docs/recorded"
WIDTH, README_LINES, PAGE_LINES = 110, 140, (60, 150)
# Lists: they have no example, and grow with what they list.
LISTS = {"SUMMARY.md", "LOG.md", "glossary.md", "decisions.md", "performance.md"}
SHAPE = ["## Example", "## What to watch", "## Reference"]

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
DURATION = r"(?:\d+ h )?(?:\d+ min )?\d[\d,.]* m?s\b"
TOKEN = re.compile(
    rf"(?P<gap>…)|(?P<duration>{DURATION})|(?P<number>(?<![\w…]){NUMBER}(?!\.?\w|…))|(?P<space>\s+)"
)
SPEED = re.compile(r" GB free| (texts|rows|tokens|requests)/s| GFLOP/s|/s\b| %.*peak")
SIZE = re.compile(r" [kMGT]i?B\b")
PROGRESS = re.compile(
    r"(s so far|(s|min) left|of at most \d+ fits|[\d,]+ rows, [\d,.]+ rows/s|of [\d,]+ texts|(?<!\.)\b\d[\d,]* of [\d,]+ rows)$"
)
# A server must have said that it serves before it is asked.
PATIENCE = 30


class Block:
    """Commands with what they print, from a page's line on."""

    def __init__(self, page, line, kind, recorded, lines):
        self.page, self.line, self.kind, self.recorded, self.lines = page, line, kind, recorded, lines

    def steps(self):
        """Pairs of a command and its output's lines; a command goes on behind a backslash."""
        steps, goes_on = [], False
        for line in self.lines:
            if goes_on:
                steps[-1][0] += "\n" + line
            elif line.startswith("$ "):
                steps.append([line[2:], []])
            elif steps:
                steps[-1][1].append(line)
            elif line.strip():
                raise Failure(self, f"output before the first command: {line}")
            goes_on = line.endswith("\\") and (goes_on or line.startswith("$ "))
        return [(command, without_blank_ends(output)) for command, output in steps]

    def text(self):
        return "\n".join(self.lines)


class Failure(Exception):
    def __init__(self, block, message):
        super().__init__(f"{block.page.relative_to(ROOT)}:{block.line}: {message}")


def in_one_line(command):
    """A command however it is broken over lines."""
    return re.sub(r"\s*\\\n\s*", " ", command)


def without_blank_ends(lines):
    """An empty line before a command, or at an output's end, is there for the eye."""
    told = [place for place, line in enumerate(lines) if line.strip()]
    return lines[told[0] : told[-1] + 1] if told else []


def blocks(page):
    found, fence, kept = [], None, []
    for place, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and (start := re.match(r"```(\w+)(?:[ ,]recorded=([\w-]+))?$", line)):
            fence, kept = (place, *start.groups()), []
        elif fence is not None and line == "```":
            found.append(Block(page, *fence, kept))
            fence = None
        elif fence is not None:
            kept.append(line)
    return [block for block in found if block.kind in ("console", "sh")]


def same_line(expected, actual):
    """Whether a printed line is what a page says."""
    pattern, checks = "", []
    place = 0
    for token in TOKEN.finditer(expected):
        pattern += re.escape(expected[place : token.start()])
        place = token.end()
        if token["gap"]:
            pattern += ".*?"
        elif token["duration"]:
            pattern += DURATION
        elif token["space"]:
            pattern += r"\s+"
        else:
            pattern += f"({NUMBER})"
            checks.append((token["number"], expected[token.end() :]))
    found = re.fullmatch(pattern + re.escape(expected[place:]), actual.rstrip())
    return found is not None and all(close(*check, other) for check, other in zip(checks, found.groups()))


def close(expected, behind, actual):
    ours, theirs = (float(number.replace(",", "")) for number in (expected, actual))
    if SPEED.match(behind) or "e" in expected:
        return True
    if SIZE.match(behind):
        return abs(ours - theirs) <= 0.2 * ours
    if "." in expected:
        return abs(ours - theirs) <= 0.02 + 0.02 * ours
    return ours == theirs


def same(expected, actual):
    """Whether printed lines are what a page says; `…` alone stands for any lines."""
    if not expected:
        return not actual
    if expected[0].strip() == "…":
        return any(same(expected[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and same_line(expected[0].rstrip(), actual[0]) and same(expected[1:], actual[1:])


def first_difference(expected, actual):
    """The page's first line that was not printed where it should be, and what was."""
    for count in range(len(expected), 0, -1):
        if same([*expected[:count], "…"], actual):
            rest = expected[count : count + 1]
            return (
                f"after {expected[count - 1]!r} the page says {rest[0]!r}"
                if rest
                else "more was printed than the page says"
            )
    return f"the page says {expected[0]!r}" if expected else "the page says that nothing is printed"


class Shell:
    """Runs commands in a folder of their own, with frosthead in the path; servers end with the page."""

    def __init__(self, frosthead, folder):
        self.folder, self.servers, self.failed = folder, [], False
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "home").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "target/release").mkdir(parents=True)
        for place in ("bin", "target/release"):
            (folder / place / "frosthead").symlink_to(frosthead)
        for name in ("data", "models", "runs"):
            (folder / name).mkdir()
        (folder / "data/demo.csv").symlink_to((ROOT / "data/demo.csv").resolve())
        for name in (".downloads", "scripts", "examples", "benches"):
            (folder / name).symlink_to((ROOT / name).resolve())
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FROSTHEAD")
        } | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "FROSTHEAD": str(frosthead),
            "ORT_DYLIB_PATH": os.environ.get(
                "ORT_DYLIB_PATH", str((ROOT / ".downloads/onnxruntime").resolve())
            ),
        }

        # What quickstart.sh leaves, and the pages build on.
        self.run("frosthead --quiet import .downloads/all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2")

    def run(self, command):
        if command.endswith("&"):
            return self.serve(command[:-1])
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        self.failed = done.returncode != 0
        return self.printed(done.stdout)

    def serve(self, command):
        log = self.folder / "serving.log"
        with open(log, "wb") as target:
            self.servers.append(
                subprocess.Popen(
                    ["bash", "-c", "exec " + command],
                    cwd=self.folder,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=target,
                    stderr=subprocess.STDOUT,
                )
            )
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends and b"\n" not in log.read_bytes() and self.servers[-1].poll() is None:
            time.sleep(0.1)
        return self.printed(log.read_bytes())

    def printed(self, output):
        """Lines as a person would read them: without colours, progress, and where this test happens to run."""
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output.decode("utf-8", "replace")).replace("\r", "\n")
        for name, path in (("~", self.folder / "home"), (".", self.folder), (".", ROOT)):
            text = text.replace(str(path), name)
        lines = [line.rstrip() for line in text.rstrip("\n").split("\n")] if text.strip() else []
        return without_blank_ends([line for line in lines if not PROGRESS.search(line)])

    def end_servers(self):
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE)
        self.servers = []


def transcript(block):
    """What was recorded: the output of each command."""
    path = RECORDED / f"{block.recorded}.txt"
    if not path.is_file():
        raise Failure(
            block,
            f"there is no {path.relative_to(ROOT)}: make it with scripts/test-docs.sh --record {block.recorded}",
        )
    body = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]
    return {in_one_line(command): output for command, output in Block(path, 1, "console", None, body).steps()}


def check_recorded(block):
    known = transcript(block)
    for command, expected in block.steps():
        actual = known.get(in_one_line(command))
        if actual is None:
            raise Failure(block, f"docs/recorded/{block.recorded}.txt has no `{command}`")
        if not same(expected, actual):
            raise Failure(block, f"`{command}`: {first_difference(expected, actual)}\n" + shown(actual))


def check_run(block, shell):
    for command, expected in block.steps():
        actual = shell.run(command)
        if not same(expected, actual):
            raise Failure(block, f"`{command}`: {first_difference(expected, actual)}\n" + shown(actual))


def shown(lines):
    return "\n".join(f"    printed: {line}" for line in lines[:60])


def update(block, shell):
    """The block as it would be now: what still matches stays as it is, abridged or not."""
    lines = []
    for command, expected in block.steps():
        actual = shell.run(command)
        lines += [f"$ {command}", *(expected if same(expected, actual) else actual)]
    new = "\n".join(lines)
    if new != block.text().rstrip("\n"):
        text = block.page.read_text(encoding="utf-8")
        block.page.write_text(text.replace(block.text(), new, 1), encoding="utf-8")
        print(f"{block.page.relative_to(ROOT)}:{block.line}: updated")


def record(name, all_blocks, shell):
    """Runs what takes long, and keeps all that it printed, with where and when that was."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        f"# {time.strftime('%Y-%m-%d')}, {processor}, {len(os.sched_getaffinity(0))} cores, commit {commit}",
        f"# Written by scripts/test-docs.sh --record {name}",
    ]
    done = set()
    commands = [
        in_one_line(command) for block in all_blocks if block.recorded == name for command, _ in block.steps()
    ]
    # Scripts come first: they show the commands that they run, which then are in their output already.
    for command in sorted(commands, key=lambda command: not command.startswith("./")):
        if command not in done:
            output = shell.run(command)
            if shell.failed:
                raise SystemExit(
                    f"test-docs: `{command}` failed, and nothing was recorded:\n" + shown(output[-20:])
                )
            done |= {command, *(line[2:] for line in output if line.startswith("$ "))}
            lines += [f"$ {command}", *output]
    if not done:
        raise SystemExit(f"test-docs: no page has a block recorded={name}")
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Options:
    """Which options each command has, as `--help` says."""

    def __init__(self, frosthead):
        self.frosthead, self.known = frosthead, {}

    def of(self, words):
        words = tuple(words)
        if words not in self.known:
            text = subprocess.run(
                [self.frosthead, *words, "--help"], capture_output=True, text=True, check=False
            ).stdout
            self.known[words] = set(re.findall(r"(?<![\w-])(-\w|--[a-z][\w-]*)", text))
        return self.known[words]

    def check(self, block):
        text = re.sub(r"\\\n\s*(?:> )?", " ", block.text())
        for call in re.findall(r"(?:^|[\s|/;&(])frosthead ([a-z].*)", text):
            words = re.split(r"\s[|>&#]|\s{3,}", call)[0].split()
            command = words[:2] if words[0] in ("bench", "cache") else words[:1]
            has = self.of(command)
            for word in words:
                if word.startswith("-") and word != "-" and word.split("=")[0] not in has:
                    raise Failure(block, f"frosthead {' '.join(command)} has no option {word}")


def pages():
    """README first, then the manual in its own order, then the examples."""
    summary = ROOT / "docs/SUMMARY.md"
    named = [
        (summary.parent / name).resolve()
        for name in re.findall(r"\]\(([^)#]+\.md)\)", summary.read_text(encoding="utf-8"))
    ]
    missing = [str(path) for path in named if not path.is_file()]
    unnamed = (
        {path.name for path in (ROOT / "docs").glob("*.md")} - {path.name for path in named} - {"SUMMARY.md"}
    )
    if missing or unnamed:
        raise SystemExit(
            f"test-docs: docs/SUMMARY.md names {missing or 'no'} page that is missing, and leaves out {sorted(unnamed) or 'none'}"
        )
    return list(dict.fromkeys([ROOT / "README.md", *named, *sorted((ROOT / "examples").glob("*/README.md"))]))


def leads_somewhere(path, anchor):
    """Whether a link's file is there, and the heading that it means."""
    if not path.exists() or not anchor:
        return path.exists()
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def form(page):
    """What is wrong with a page as a text: links, width, length, its parts."""
    lines = page.read_text(encoding="utf-8").splitlines()
    name = page.relative_to(ROOT)
    wrong, fenced = [], False
    for place, line in enumerate(lines, 1):
        fenced ^= line.startswith("```")
        # A row of a table is as wide as it is.
        if len(line) > WIDTH and not line.lstrip().startswith("|"):
            wrong.append(f"{name}:{place}: {len(line)} columns, at most {WIDTH}")
        for target, anchor in re.findall(r"\]\(([^)#\s]+)(?:#([^)]*))?\)", "" if fenced else line):
            if "://" not in target and not leads_somewhere(page.parent / target, anchor):
                wrong.append(f"{name}:{place}: there is no {target}{'#' + anchor if anchor else ''}")
    if page.name == "README.md" and page.parent == ROOT and len(lines) > README_LINES:
        wrong.append(f"{name}: {len(lines)} lines, at most {README_LINES}")
    if page.parent.name == "docs" and page.name not in LISTS:
        if not PAGE_LINES[0] <= len(lines) <= PAGE_LINES[1]:
            wrong.append(f"{name}: {len(lines)} lines, expected {PAGE_LINES[0]} to {PAGE_LINES[1]}")
        wrong += [
            f"{name}: no line `{heading}`"
            for heading in SHAPE
            if not any(line.startswith(heading) for line in lines)
        ]
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("frosthead", type=Path)
    parser.add_argument("--update", action="store_true", help="write what is printed now into the pages")
    parser.add_argument(
        "--record", metavar="NAME", help="run what is recorded under this name, and keep what it prints"
    )
    parser.add_argument(
        "pages", nargs="*", type=Path, help="only these, behind getting-started.md, on which the others build"
    )
    options = parser.parse_intermixed_args()
    every = pages()
    wanted = (
        {path.resolve() for path in options.pages} | {ROOT / "docs/getting-started.md"}
        if options.pages
        else set(every)
    )
    shell = Shell(options.frosthead.resolve(), ROOT / "target/test-docs")
    if options.record:
        try:
            return record(options.record, [block for page in every for block in blocks(page)], shell)
        finally:
            shell.end_servers()
    known, failures, start = Options(options.frosthead.resolve()), [], time.monotonic()
    for page in every:
        if page not in wanted:
            continue
        began, count = time.monotonic(), 0
        failures += form(page)
        for block in blocks(page):
            try:
                known.check(block)
                if block.kind == "console" and block.recorded:
                    check_recorded(block)
                elif block.kind == "console":
                    update(block, shell) if options.update else check_run(block, shell)
                count += len(block.steps()) if block.kind == "console" else 0
            except Failure as failure:
                failures.append(str(failure))
        shell.end_servers()
        print(f"{page.relative_to(ROOT)}: {count} commands, {time.monotonic() - began:.0f} s", flush=True)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"test-docs: {len(failures)} failures, {time.monotonic() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
