"""Contestants and how they take turns: a worker process per peer, our own program beside them, medians and ratios of rounds.

Refuses to compare what was not measured in the same rounds.
"""

import json
import math
import statistics
import subprocess
import tempfile

from environments import Unavailable


class Worker:
    """A peer in its own process, which answers one question at a time (`scripts/peers/worker.py`)."""

    def __init__(self, command):
        self.command = [str(word) for word in command]
        # A file, not a pipe: a library that warns a lot must not stop because nobody reads.
        self.complaints = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints, text=True
        )

    def ask(self, command, value):
        try:
            self.process.stdin.write(json.dumps({command: value}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            self.complaints.seek(0)
            raise Unavailable(f"ended: {self.complaints.read()[-400:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Unavailable(f"failed: {answer['error'][-400:]}")
        return answer

    def stop(self):
        # A worker ends when its standard input does.
        self.process.communicate()
        self.complaints.close()


class Skips:
    """Who does not take part in which job, and why: {job: {name: reason}}."""

    def __init__(self):
        self.job, self.reasons = None, {}

    def attempt(self, name, make):
        """`make()`, or None when the peer is unavailable, noted with its reason."""
        try:
            return make()
        except Unavailable as problem:
            self.reasons.setdefault(self.job, {})[name] = str(problem)
            print(f"bench:   {name} left out: {problem}", flush=True)
            return None


def take_turns(measures, rounds, skips):
    """Runs `measures` ({name: function returning seconds}) alternately; {name: [seconds of each round]}.

    Every round begins with another one, so that no place in the round favours anybody. One that fails is left out from then on.
    """
    seconds = {name: [] for name in measures}
    for number in range(rounds):
        names = list(seconds)
        start = number % len(names) if names else 0
        for name in names[start:] + names[:start]:
            taken = skips.attempt(name, measures[name])
            if taken is None:
                del seconds[name]
            else:
                seconds[name].append(taken)
    return seconds


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def times_faster(ours, theirs):
    """How many times as fast `ours` was, round by round: median, least, most."""
    return spread([their / our for our, their in zip(ours, theirs, strict=True)])


def percentile(values, share):
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def line_fit(x, y):
    """y = intercept + slope · x with the smallest squares of relative errors, since a measurement is off by a share of
    itself: the small end counts as much as the large one. Beside it the largest of these errors."""
    weights = [value**-2 for value in y]
    weighted = lambda values: sum(weight * value for weight, value in zip(weights, values)) / sum(weights)
    mean_x, mean_y = weighted(x), weighted(y)
    slope = weighted([(at - mean_x) * (value - mean_y) for at, value in zip(x, y)]) / weighted(
        [(at - mean_x) ** 2 for at in x]
    )
    intercept = mean_y - slope * mean_x
    errors = [abs(intercept + slope * at - value) / value for at, value in zip(x, y)]
    return {"intercept": intercept, "slope": slope, "largest_error": max(errors)}
