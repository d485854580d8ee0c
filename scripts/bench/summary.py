"""The summary of a run: one small table; for each job the fastest peer setting at no loss of accuracy, and ours beside it.

A pure function of results.json. Refuses a peer whose answers are worse than what ours are compared at.
"""

import statistics

from turns import spread, times_faster

# Embeddings as good as fp32's, and what 8 bits may cost: the least cosine to the reference.
LEVELS = {"as exact as fp32": 0.999, "cosines ≥ .98": 0.98}
# Heads and trained layers whose loss or accuracy is this near are as good.
SAME_LOSS = 1.001
# So is what labels a share of the rows rightly that is this near: the error of a share of 5,000 rows.
SAME_ACCURACY = 0.005
HEAD = ["job", "fastest peer at no loss", "it / frosthead", "frosthead is better by"]


def summary(results):
    """All results as one Markdown table."""
    newest = max((result.get("measured", "")[:10] for result in results), default="")
    rows = []
    for result in results:
        # What stands from an earlier run says so.
        date = result.get("measured", "")[:10]
        mark = "" if date == newest else f" ({date[5:]})"
        rows += [[job + mark, *cells] for job, *cells in ROWS.get(result["job"], nothing)(result)]
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def nothing(_):
    return []


def is_ours(row):
    return row["contestant"].startswith("frosthead")


def is_peer(row):
    # The loop with our batches is a part of our own recipe, not what somebody would write.
    return not is_ours(row) and row["contestant"] != "plain loop, our batches"


def fastest(rows):
    return min(rows, key=lambda row: statistics.median(row["seconds"]), default=None)


def telling(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(ours, theirs):
    ratios = times_faster(ours["seconds"], theirs["seconds"])
    return f"{ratios['median']:.2f} × ({ratios['least']:.2f}–{ratios['most']:.2f})"


def pair(job, theirs, ours, figure):
    """A line of two rows that were measured in turns."""
    return [
        job,
        named(theirs),
        " / ".join(telling(figure(statistics.median(row["seconds"]))) for row in (theirs, ours)),
        times(ours, theirs),
    ]


def named(row):
    size = row.get("settings", {}).get("batch_size")
    return short(row) + (f" ({size} at once)" if size else "")


def short(row):
    return row["contestant"].removeprefix("sentence-transformers, ")


def extraction(result):
    for level, least in LEVELS.items():
        good = [row for row in result["rows"] if row["cosine"]["least"] >= least]
        theirs, ours = fastest(filter(is_peer, good)), fastest(filter(is_ours, good))
        if theirs and ours:
            job = f"{result['set']}, {level}: texts/s"
            yield pair(job, theirs, ours, lambda seconds: result["amount"] / seconds)


def single(result):
    """What one text costs, at no loss: of contestants in fp32 and ours in fp32."""
    rows = [row for row in result["rows"] if "int8" not in row["contestant"]]
    ours = next(row for row in rows if is_ours(row))
    figures = {
        "one text: ms": lambda row: row["latency"]["p50"]["median"] if row["latency"] else None,
        "start to first answer: s": lambda row: spread(row["cold_seconds"])["median"],
        "its peak memory: MB": lambda row: row["peak_rss_bytes"] / 1e6,
        "installed: MB": lambda row: row["installed_bytes"] / 1e6,
    }
    for job, figure in figures.items():
        peers = [row for row in rows if is_peer(row) and figure(row)]
        if peers:
            best = min(peers, key=figure)
            both = [figure(best), figure(ours)]
            yield [job, short(best), " / ".join(map(telling, both)), f"{both[0] / both[1]:.2f} ×"]


def heads(result):
    ours = next(row for row in result["rows"] if is_ours(row))
    good = [row for row in result["rows"] if is_peer(row) and row["loss"] <= ours["loss"] * SAME_LOSS]
    if theirs := fastest(good):
        dtype = theirs["settings"].get("dtype", "")
        line = pair(f"heads, {result['set'].split(':')[-1].strip()}: s", theirs, ours, float)
        yield [line[0], f"{line[1]} {dtype}".strip(), *line[2:]]


def layers(result):
    ours, theirs = result["rows"]
    yield pair(f"an epoch of {result['set'].split(',')[0]}: s", theirs, ours, float)


def whole(result):
    """At no loss against the usual recipe, which is the first peer. Where we lose, it is said."""
    job = f"whole job, {result['set'].split(',')[0]}"
    usual = next(filter(is_peer, result["rows"]))
    if line := labelling(result, f"{job}: s", usual, float):
        yield line
    else:
        ours = fastest(filter(is_ours, result["rows"]))
        lost = {task: usual["accuracies"][task] - found for task, found in ours["accuracies"].items()}
        worst = 100 * max(lost.values())
        yield pair(f"{job} (−{worst:.1f}): s", usual, ours, float)


def frontier(result):
    """At no loss against the usual recipe, which is the first row."""
    job = f"labels of {result['set']}: texts/s"
    if line := labelling(result, job, result["rows"][0], lambda seconds: result["amount"] / seconds):
        yield line


def labelling(result, job, usual, figure):
    """The line of the fastest whose labels are as accurate as the usual recipe's; none where ours are not."""

    def is_good(row):
        wanted = usual["accuracies"].items()
        return all(row["accuracies"].get(task, 0) >= accuracy - SAME_ACCURACY for task, accuracy in wanted)

    good = list(filter(is_good, result["rows"]))
    theirs, ours = fastest(filter(is_peer, good)), fastest(filter(is_ours, good))
    if not (theirs and ours):
        return None
    line = pair(job, theirs, ours, figure)
    which = ours["contestant"].removeprefix("frosthead").lstrip(", ")
    return [job, short(theirs), line[2], ", ".join(filter(None, [line[3], which]))]


ROWS = {
    "extraction": extraction,
    "single text": single,
    "heads": heads,
    "layers": layers,
    "whole": whole,
    "frontier": frontier,
}
