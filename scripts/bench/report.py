"""What a run becomes: tables for people, a plot, and the tables of docs/performance.md.

A pure function of results.json. Refuses to give a ratio for a contestant whose outputs differ.
"""

from pathlib import Path

from summary import summary
from turns import line_fit, spread, times_faster

# Columns of a page.
WIDTH = 110
START, END = "<!-- bench: written by scripts/bench.sh --update-docs -->", "<!-- bench: end -->"
NOT_COMPARED = """Not compared: GPUs; other backbones and languages; quantised heads; servers under load. The peers' graphs are frosthead's own up to the
last layer for fastembed and the plain loop (as fast as PyTorch's export, see docs/LOG.md), and sentence-transformers' own export for its ONNX and OpenVINO backends (OpenVINO as it comes computes
in bf16 where the processor can). Python itself and,
where named, CUDA packages are not part of a size. Peers that answer with embeddings are not asked for the heads that frosthead applies."""


NO_LOSS = """No loss: embeddings whose least cosine to PyTorch's is .999 (or .98, where 8 bits are allowed), heads within a
thousandth of the loss, labels as accurate, to half a point, as the usual recipe's (embeddings and logistic
regression) on every task, or so many points of accuracy lost (−); one text in fp32. OpenVINO, onnx and torch
are forms of sentence-transformers. Installed: for frosthead the edge program (until 11-27 the whole one),
ONNX Runtime's library and a bundle. A dated line is older."""


def tables(results):
    """All results as Markdown tables, one after another."""
    made = {
        "extraction": extraction,
        "single text": single,
        "heads": heads,
        "layers": layers,
        "whole": whole,
        "growth": growth,
        "frontier": frontier,
    }
    return "\n\n".join(made[result["job"]](result) for result in results if result["job"] in made)


def table(head, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def narrow(text):
    """Markdown in which a table that is wider than a page is several, which repeat the first column."""
    parts = []
    for part in text.split("\n\n"):
        lines = part.split("\n")
        is_wide = all(line.startswith("| ") for line in lines) and max(map(len, lines)) > WIDTH
        parts += stacked([line[2:-2].split(" | ") for line in lines]) if is_wide else [part]
    return "\n\n".join(parts)


def stacked(rows):
    """A table as several ones; a column that is too wide even beside the first stays so."""

    def of(columns):
        return ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]

    groups = [[0]]
    for column in range(1, len(rows[0])):
        if len(groups[-1]) > 1 and max(map(len, of([*groups[-1], column]))) > WIDTH:
            groups.append([0])
        groups[-1].append(column)
    return ["\n".join(of(group)) for group in groups]


def number(value):
    """Three telling digits, without an exponent."""
    return (
        f"{value:,.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 1
        else f"{value:.3f}"
    )


def ranged(values):
    rates = spread(values)
    return f"{number(rates['median'])} ({number(rates['least'])}–{number(rates['most'])})"


def times(ours, theirs):
    ratios = times_faster(ours, theirs)
    return f"{ratios['median']:.2f} × ({ratios['least']:.2f}–{ratios['most']:.2f})"


def settings(chosen):
    """Settings in words; a list, which is the buckets of a length, only by its name."""
    return ", ".join(
        f"{name.replace('_', ' ').replace('-', ' ')} {value}" if not isinstance(value, list) else name
        for name, value in chosen.items()
    )


def row_of(result, contestant, which):
    return next(
        (row for row in result["rows"] if row["contestant"] == contestant and row["which"] == which), None
    )


def extraction(result):
    rows = []
    for contestant in dict.fromkeys(row["contestant"] for row in result["rows"]):
        measured = [row for which in ("default", "best") if (row := row_of(result, contestant, which))]
        rates = [ranged([result["amount"] / seconds for seconds in row["seconds"]]) for row in measured]
        if measured[-1]["which"] == "best":
            rates[-1] += f": {settings(measured[-1]['settings'])}"
        ratios = []
        for precision in ("fp32", "int8"):
            faster = [
                times(ours["seconds"], row["seconds"])
                for row in measured
                if (ours := row_of(result, f"frosthead {precision}", row["which"]))
            ]
            ratios.append(
                "outputs differ"
                if not measured[0]["same"]
                else ""
                if contestant.startswith("frosthead")
                else " / ".join(faster)
            )
        cosine = measured[0]["cosine"]
        rows.append(
            [contestant, *(rates + [""])[:2], f"{cosine['mean']:.5f} / {cosine['least']:.5f}", *ratios]
        )
    head = [
        f"extraction, {result['amount']:,} {result['set']}, texts/s",
        "defaults",
        "best of a sweep",
        "cosine mean / least",
        "frosthead fp32 is faster (defaults / best)",
        "frosthead int8 is faster",
    ]
    peak = "".join(
        f"; {row['share_of_gemm_peak']:.0%} of the machine's fp32 peak ({row['which']})"
        for row in result["rows"]
        if "share_of_gemm_peak" in row
    )
    return f"{table(head, rows)}\n\nCosines to {result['reference']}{peak}."


def single(result):
    ours = next(row for row in result["rows"] if row["contestant"] == "frosthead fp32")
    rows = []
    for row in result["rows"]:

        def against(value, our):
            return "" if row["contestant"].startswith("frosthead") else f", {value / our:.1f} ×"

        latency = row["latency"] or {}
        times_of = (
            " / ".join(number(latency[key]["median"]) for key in ("p50", "p95", "p99"))
            if latency
            else "failed"
        )
        cold, our_cold = spread(row["cold_seconds"]), spread(ours["cold_seconds"])
        sizes = ", ".join(f"{what} {size / 1e6:,.0f}" for what, size in row["sizes"].items())
        rows.append(
            [
                row["contestant"],
                times_of,
                ranged(row["cold_seconds"]) + against(cold["median"], our_cold["median"]),
                f"{row['peak_rss_bytes'] / 1e6:,.0f}"
                + against(row["peak_rss_bytes"], ours["peak_rss_bytes"]),
                f"{row['installed_bytes'] / 1e6:,.0f}"
                + against(row["installed_bytes"], ours["installed_bytes"])
                + f" ({sizes})",
            ]
        )
    return table(
        ["single text", "ms: median / 95 % / 99 %", "cold start, s", "its peak memory, MB", "installed, MB"],
        rows,
    )


def heads(result):
    ours = row_of(result, "frosthead", "default")
    rows = []
    for row in result["rows"]:
        peer = row is not ours
        rows.append(
            [
                f"{row['contestant']}, {row['which']}"
                + (f": {settings(row['settings'])}" if row["settings"] else "")
                if peer
                else row["contestant"],
                ranged(row["seconds"]),
                f"{row['loss']:,.3f}"
                + (f" ({row['loss'] / ours['loss']:.6f} of frosthead's)" if peer else ""),
                times(ours["seconds"], row["seconds"]) if peer else "",
            ]
        )
    shape = result["shape"]
    head = [
        f"heads, {result['set']}: {shape['rows']:,} × {shape['features']}, {shape['classes']} classes",
        "s",
        "final loss",
        "frosthead is faster",
    ]
    return table(head, rows)


def accuracy(value):
    return " ".join(f"{task} {accuracy:.3f}" for task, accuracy in value.items())


def layers(result):
    ours, theirs = result["rows"]
    rows = [
        [
            row["contestant"],
            ranged(row["seconds"]),
            "; ".join(map(accuracy, row["accuracies"])),
            times(ours["seconds"], row["seconds"]) if row is theirs else "",
        ]
        for row in (ours, theirs)
    ]
    return table(
        [f"an epoch of training, {result['set']}", "s", "test accuracy, seed by seed", "frosthead is faster"],
        rows,
    )


def whole(result):
    ours, rows = result["rows"][0], []
    for row in result["rows"]:
        steps = " + ".join(number(spread(step)["median"]) for step in zip(*row["steps"]))
        rows.append(
            [
                row["contestant"],
                ranged(row["seconds"]),
                steps,
                accuracy(row["accuracies"]),
                f"{max(row['peak_rss_bytes']) / 1e6:,.0f}",
                times(ours["seconds"], row["seconds"]) if row is not ours else "",
            ]
        )
    return table(
        [
            f"the whole job, {result['set']} ({result['amount']:,} rows)",
            "s",
            "steps",
            "test accuracy",
            "peak memory, MB",
            "frosthead is faster",
        ],
        rows,
    )


def growth(result):
    rows = [
        [
            f"{point['x']:,}",
            number(point["seconds"]),
            f"{point['peak_rss_bytes'] / 1e6:,.0f}" if "peak_rss_bytes" in point else "",
        ]
        for point in result["points"]
    ]
    head = [f"growth, {result['set']}: {result['x']}", "s", "peak memory, MB"]
    return f"{table(head, rows)}\n\n{fitted(result)}."


def fitted(result):
    """How seconds grow, fitted on the points."""
    points = [(point["x"], point["seconds"]) for point in result["points"]]
    line = line_fit(*zip(*points))
    return f"{line['intercept']:.3g} s + {line['slope']:.3g} s · {result['x']}, off by {line['largest_error']:.0%} at most"


def frontier(result):
    """Who answers how well at what cost; the first row, the usual recipe, is what speeds are compared with."""
    usual, rows = result["rows"][0], []
    for row in result["rows"]:
        note = settings(row["settings"]) or row["chosen"]
        rows.append(
            [
                row["contestant"] + (f" ({note})" if note else ""),
                accuracy(row["accuracies"]),
                f"{row['bytes'] / 1e6:,.1f}",
                ranged([result["amount"] / seconds for seconds in row["seconds"]]),
                number(row["latency"]["median"]),
                f"{row['peak_rss_bytes'] / 1e6:,.0f}",
                times(row["seconds"], usual["seconds"]) if row is not usual else "",
            ]
        )
    counted = ", ".join(f"{task} {count:,}" for task, count in result["test_rows"].items())
    head = [
        f"frontier, {result['set']} (test rows: {counted}; seed {result['seed']})",
        "test accuracy",
        "deployed, MB",
        "texts/s",
        "ms a text",
        "peak memory, MB",
        f"faster than {usual['contestant']}",
    ]
    return (
        table(head, rows)
        + f"\n\nTexts/s of {result['amount']:,} test texts to labels, at each one's fastest batches. Deployed: files of the model, without programs and libraries."
    )


def frontier_points(result, processor):
    """What stands beside our own frontier: a point for each peer and task, as `frosthead compare --beside` reads them."""
    return [
        {
            "name": row["contestant"],
            "task": task,
            "accuracy": accuracy,
            "test_rows": result["test_rows"][task],
            "bytes": row["bytes"],
            "texts_per_second": spread([result["amount"] / seconds for seconds in row["seconds"]])["median"],
            "ms_per_text": row["latency"]["median"],
            "processor": processor,
        }
        for row in result["rows"]
        if not row["contestant"].startswith("frosthead")
        for task, accuracy in row["accuracies"].items()
    ]


def made_by(results):
    """Which command measured what, when, and which commit: a run keeps what earlier ones found until it is measured again."""
    groups = {}
    for result in results:
        key = (result["command"], result["measured"][:10], str(result["commit"]))
        groups.setdefault(key, []).append(f"{result['job']}: {result['set']}")
    return [
        f"* `{command}`, {date}, commit {commit} ({'; '.join(jobs)})"
        for (command, date, commit), jobs in groups.items()
    ]


def page(run):
    """The README of a run."""
    machine = run["machine"]
    lines = [
        "# Benchmark",
        "",
        f"{machine['processor']}, {machine['cores_allowed']} cores, {machine['threads']} threads, {machine['memory_bytes'] / 2**30:.0f} GiB; {', '.join(machine['instructions'])}. "
        f"{machine['system']}, Python {machine['python']}. Load before a job: {', '.join(dict.fromkeys(format(result['load_before'], '.2f') for result in run['results']))}.",
        "",
        "Medians (least–most) of rounds in which all contestants took turns; ratios are medians of the rounds' own. Made by:",
        "",
        *made_by(run["results"]),
        "",
        summary(run["results"]),
        "",
        NO_LOSS,
        "",
        "## All tables",
        "",
        narrow(tables(run["results"])),
        "",
        *(
            ["![texts per second](plot.svg)", ""]
            if any(result["job"] == "extraction" for result in run["results"])
            else []
        ),
        NOT_COMPARED,
        "",
        "## Versions",
        "",
        *[
            f"* {name}: {', '.join(f'{package} {version}' for package, version in packages.items() if package in run['telling'])}"
            for name, packages in run["peers"].items()
        ],
    ]
    cuda = {package for parts in run["cuda"].values() for package in parts}
    if cuda:
        lines += ["", "Not counted in sizes, as they serve GPUs only: " + ", ".join(sorted(cuda)) + "."]
    if run["problems"]:
        lines += [
            "",
            "## Left out",
            "",
            *[
                f"* {job}: {name}: {reason}"
                for job, reasons in run["problems"].items()
                for name, reason in reasons.items()
            ],
        ]
    commands = {
        row["contestant"]: row["command"]
        for result in run["results"]
        for row in result.get("rows", [])
        if "command" in row
    }
    if commands:
        lines += [
            "",
            "## Commands of the contestants",
            "",
            *[f"* {name}: `{command}`" for name, command in commands.items()],
        ]
    return "\n".join(lines) + "\n"


def plot(results):
    """Bars of texts/s at defaults (light) and best settings (dark), with whiskers from the slowest round to the fastest."""
    sets = [result for result in results if result["job"] == "extraction"]
    bars, y, width, left = [], 10, 420, 270
    for result in sets:
        rates = [[result["amount"] / seconds for seconds in row["seconds"]] for row in result["rows"]]
        scale = width / max(map(max, rates))
        bars.append(f'<text x="8" y="{y + 14}" font-weight="bold">{escaped(result["set"])}: texts/s</text>')
        y += 24
        for row, taken in zip(result["rows"], rates):
            rate = spread(taken)
            colour = (
                {"default": "#9ecae1", "best": "#3182bd"}[row["which"]]
                if not row["contestant"].startswith("frosthead")
                else {"default": "#fdae6b", "best": "#e6550d"}[row["which"]]
            )
            middle, end = y + 7, left + rate["median"] * scale
            bars.append(
                f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escaped(row["contestant"])}, {row["which"]}</text>'
            )
            bars.append(
                f'<rect x="{left}" y="{y}" width="{rate["median"] * scale:.1f}" height="14" fill="{colour}"/>'
            )
            bars.append(
                f'<path d="M{left + rate["least"] * scale:.1f} {middle}H{left + rate["most"] * scale:.1f}" stroke="#333"/>'
            )
            bars.append(
                f'<text x="{max(end, left + rate["most"] * scale) + 6:.1f}" y="{y + 11}">{number(rate["median"])}</text>'
            )
            y += 18
        y += 14
    body = "\n".join(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def with_table(page, text):
    """A page of the manual with `text` between its two markers."""
    before, found, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"the page has no place for the tables: it must hold the lines {START} and {END}")
    return f"{before}{START}\n{text}\n{END}{after}"


def update_page(path, run, folder):
    """Writes the summary and how costs grow into a page; `folder` is that of the run, as seen from the page."""
    path = Path(path)
    machine = run["machine"]
    grown = "\n".join(
        f"* growth, {result['set']}: {fitted(result)}"
        for result in run["results"]
        if result["job"] == "growth"
    )
    note = f"{machine['processor']}, {machine['threads']} threads; medians (least–most) of rounds in turns.\nAll contestants at all settings, versions, commands and what was not compared:\n[{Path(folder).name}]({folder}/README.md)."
    path.write_text(
        with_table(
            path.read_text(encoding="utf-8"),
            f"{note}\n\n{summary(run['results'])}\n\n{NO_LOSS}\n\n{grown}",
        ),
        encoding="utf-8",
    )
