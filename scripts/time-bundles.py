#!/usr/bin/env python3
"""Times bundles in turns: a whole process for one text, its peak memory, and a whole process for many texts.

usage: time-bundles.py FROSTHEAD TEXTS BUNDLE… [--single PROGRAM] [--rounds 5] [--single-rounds 15]

TEXTS is a file of lines. The first bundle is what the others are compared with; a bundle may have a program of its own, PROGRAM@BUNDLE,
so that versions are compared. PROGRAM of --single labels the single text (the edge build;
default: FROSTHEAD). Prints medians with the least and the most. Nothing else should run.
"""

import argparse, os, statistics, subprocess, sys, tempfile, time


def run(program, texts, bundle):
    """Seconds and peak MiB of a process."""
    named, _, bundle = bundle.rpartition("@")
    program = named or program
    start = time.perf_counter()
    command = [program, "-q", "predict", texts, "--format", "lines", "--model", bundle]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frosthead")
    parser.add_argument("texts")
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--single", help="the program for single texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single-rounds", type=int, default=15)
    options = parser.parse_args()
    with open(options.texts, encoding="utf-8") as lines:
        count = sum(1 for _ in lines)
    one, many, peak = ({bundle: [] for bundle in options.bundles} for _ in range(3))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write("The battery died after two days, and nobody answers my mails.\n")
        text.flush()
        for _ in range(options.single_rounds):
            for bundle in options.bundles:
                seconds, memory = run(options.single or options.frosthead, text.name, bundle)
                one[bundle].append(seconds)
                peak[bundle].append(memory)
    for _ in range(options.rounds):
        for bundle in options.bundles:
            many[bundle].append(run(options.frosthead, options.texts, bundle)[0])
    median, first = statistics.median, options.bundles[0]
    for bundle in options.bundles:
        start, seconds = one[bundle], many[bundle]
        print(
            f"{bundle}: one text {1e3 * median(start):.0f} ms ({1e3 * min(start):.0f}-{1e3 * max(start):.0f}), "
            f"{median(start) / median(one[first]):.2f} of the first; peak {max(peak[bundle]):.1f} MiB; "
            f"{count / median(seconds):,.0f} texts/s ({count / max(seconds):,.0f}-{count / min(seconds):,.0f}), "
            f"{median(many[first]) / median(seconds):.2f} times the first"
        )


if __name__ == "__main__":
    main()
