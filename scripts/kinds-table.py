#!/usr/bin/env python3
"""Tasks of several labels and of numbers against scikit-learn on the same features, what was promised of them, and what they cost.

usage: kinds-table.py PART FROSTHEAD BACKBONE WORK [--clinc FOLDER | --demo DEMO.csv] [--ratings vaderSentiment-3.3.2.tar.gz] [--splits N] [--alpha A]

PART is one of
  several   --clinc: domain and intent of every row as tags, out-of-scope rows with none, 30 % of the tags taken away at random (seed 13).
            --demo: domain and sentiment of the demo data as tags, as many taken away; a fifth of the rows to test on.
            Loss of the fit and micro-F1 at 0.5 against OneVsRestClassifier(LogisticRegression) with the same penalty on the same
            standardised features; what the head's own thresholds give beside it.
  number    --ratings: the mean rating of the demo data's source as a number. R² against Ridge; Spearman beside that of the three
            classes of the demo data (expected rank: P(positive) - P(negative)).
  promises  both: over N splits (default 20), mean and spread of the coverage of 90 % intervals, and of the precision of all
            labels with a threshold for --precision-at 0.9 (rows that are answered with them, all labels together).
  cost      --clinc: seconds and peak memory of fitting 150 intents as one of, and as any of.
Prints Markdown. needs: numpy, scikit-learn, pyarrow (but for `cost`).
"""

import argparse, csv, json, os, random, struct, subprocess, sys, time
from pathlib import Path


def run(options, *words, measure=False):
    command = [str(word) for word in (options.frosthead, "-q", *words)]
    start, done = time.time(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = done.stdout.read()
    _, status, used = os.wait4(done.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return (out, time.time() - start, used.ru_maxrss / 1024) if measure else out


def write(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def demo_tags(options, seed=13):
    """(train, test) rows of the demo data, its domain and sentiment as tags, some taken away."""
    draw = random.Random(seed)
    rows = [
        (row["text"], [tag for tag in (row["domain"], row["sentiment"]) if draw.random() >= 0.3])
        for row in read(options.demo)
    ]
    draw.shuffle(rows)
    cut = len(rows) * 4 // 5
    return rows[:cut], rows[cut:]


def tags(options, seed=13):
    """(train, test) rows of text and tags; no text is in both."""
    draw = random.Random(seed)
    parts = {}
    for part in ("train", "test"):
        rows = read(options.clinc / f"clinc150_{part}.csv")
        if part == "test":
            rows += read(options.clinc / "clinc150_oos_test.csv")
        named = []
        for row in rows:
            given = [] if row["domain"] == "oos" else [row["domain"], "intent " + row["intent"]]
            named.append((row["text"], [tag for tag in given if draw.random() >= 0.3]))
        parts[part] = named
    # Some rows out of scope to learn from: a third of them.
    strangers = [row for row in parts["test"] if not row[1]]
    moved = set(text for text, _ in strangers[::3])
    parts["train"] += [row for row in parts["test"] if row[0] in moved]
    parts["test"] = [row for row in parts["test"] if row[0] not in moved]
    held = {text for text, _ in parts["test"]}
    seen, train = set(), []
    for text, given in parts["train"]:
        if text not in held and text not in seen:
            seen.add(text)
            train.append((text, given))
    return train, parts["test"]


def ratings(options):
    sys.path.insert(0, str(Path(__file__).parent))
    sys.dont_write_bytecode = True
    import importlib

    demo = importlib.import_module("make-demo-data")
    rows = {}
    for domain, table in demo.tables(options.ratings):
        for line in table.split("\r\n"):
            if line:
                _, rating, text = line.split("\t", 2)
                rows.setdefault(text.strip(), []).append((domain, float(rating)))
    return [(text, *found[0]) for text, found in rows.items() if len(found) == 1]


def features(options, path, name):
    """(matrix, column) of what `frosthead embed` gives, as numpy has it."""
    import numpy, pyarrow.parquet

    out = options.work / f"{name}.parquet"
    run(
        options,
        "embed",
        path,
        "--backbone",
        options.backbone,
        "--out",
        out,
        "--cache",
        options.work / "cache",
    )
    table = pyarrow.parquet.read_table(out)
    return numpy.stack(table["embedding"].to_numpy()), out


def heads(path):
    """Tensors of a heads.safetensors by name."""
    import numpy

    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            found[name] = numpy.frombuffer(data[8 + length + start : 8 + length + end], "<f4").reshape(
                entry["shape"]
            )
    return found


def standardised(train, test):
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = [0 if one < 1e-6 * deviation.max() else 1 / one for one in deviation]
    return (train - mean) * scale, (test - mean) * scale


def several(options):
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, log_loss
    from sklearn.multiclass import OneVsRestClassifier

    train, test = demo_tags(options) if options.demo else tags(options)
    paths = [
        write(
            options.work / f"tags-{name}.csv",
            ["text", "tags"],
            [(text, ";".join(given)) for text, given in rows],
        )
        for name, rows in (("train", train), ("test", test))
    ]
    (x, x_path), (y, y_path) = (features(options, path, path.stem) for path in paths)
    x, y = standardised(x.astype(numpy.float64), y.astype(numpy.float64))
    labels = sorted({tag for _, given in train for tag in given})
    truth = [
        numpy.array([[tag in given for tag in labels] for _, given in rows], dtype=int)
        for rows in (train, test)
    ]
    print(
        f"{len(train)} rows to learn from, {len(test)} to test on, {len(labels)} tags; rows with none: {sum(not given for _, given in test)} of the test, with two: {sum(len(given) > 1 for _, given in test)}\n"
    )
    print(
        "| alpha | loss, ours | loss, scikit-learn | ratio | micro-F1 at .5, ours | scikit-learn | own thresholds | seconds, ours | scikit-learn |\n|---|---|---|---|---|---|---|---|---|"
    )
    for alpha in options.alpha:
        out = options.work / "several"
        # No validation rows: all are fitted on, as there.
        words = [
            "train",
            x_path,
            "--any-of",
            "tags",
            "--test",
            y_path,
            "--valid-fraction",
            "0",
            "--alpha",
            alpha,
            "--out",
            out,
            "--overwrite",
            "--json",
        ]
        metrics = json.loads(run(options, *words))["tasks"]["tags"]
        fit = json.loads((out / "fit.json").read_text())[0]
        fitted = heads(out / "heads.safetensors")
        raw = features(options, paths[1], "tags-test")[0]
        logits = raw @ fitted["heads.tags.weight"].T + fitted["heads.tags.bias"]
        start = time.time()
        model = OneVsRestClassifier(LogisticRegression(C=1 / alpha, max_iter=2000, tol=1e-6)).fit(x, truth[0])
        seconds = time.time() - start
        probabilities = model.predict_proba(x)
        loss = sum(
            log_loss(truth[0][:, place], probabilities[:, place], normalize=False, labels=[0, 1])
            + alpha / 2 * (one.coef_**2).sum()
            for place, one in enumerate(model.estimators_)
        )
        f1 = [100 * f1_score(truth[1], said, average="micro") for said in (logits > 0, model.predict(y))]
        print(
            f"| {alpha:g} | {fit['loss']:.1f} | {loss:.1f} | {fit['loss'] / loss:.5f} | {f1[0]:.2f} | {f1[1]:.2f} | {100 * metrics['several']['micro_f1']:.2f} | {fit['seconds']:.1f} | {seconds:.1f} |",
            flush=True,
        )


def number(options):
    import numpy
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    rows = ratings(options)
    random.Random(13).shuffle(rows)
    cut = len(rows) * 4 // 5
    mood = lambda rating: "positive" if rating >= 0.5 else "negative" if rating <= -0.5 else "neutral"
    paths = [
        write(
            options.work / f"rating-{name}.csv",
            ["text", "rating", "sentiment"],
            [(text, rating, mood(rating)) for text, _, rating in part],
        )
        for name, part in (("train", rows[:cut]), ("test", rows[cut:]))
    ]
    (x, x_path), (y, y_path) = (features(options, path, path.stem) for path in paths)
    x, y = standardised(x.astype(numpy.float64), y.astype(numpy.float64))
    truth = [numpy.array([rating for *_, rating in part]) for part in (rows[:cut], rows[cut:])]
    print(
        f"{cut} rows to learn from, {len(rows) - cut} to test on\n\n| alpha | R², ours | Ridge | Spearman | MAE | interval |\n|---|---|---|---|---|---|"
    )
    for alpha in options.alpha:
        out = options.work / "number"
        words = [
            "train",
            x_path,
            "--number",
            "rating",
            "--test",
            y_path,
            "--valid-fraction",
            "0",
            "--alpha",
            alpha,
            "--out",
            out,
            "--overwrite",
            "--json",
        ]
        found = json.loads(run(options, *words))["tasks"]["rating"]["number"]
        peer = r2_score(truth[1], Ridge(alpha=alpha).fit(x, truth[0]).predict(y))
        interval = found.get("interval") or {}
        print(
            f"| {alpha:g} | {found['r_squared']:.5f} | {peer:.5f} | {found['spearman']:.4f} | {found['mae']:.4f} | ±{interval.get('width', 0):.3f} holds {100 * interval.get('coverage', 0):.1f} % |",
            flush=True,
        )
    print("\nSpearman on the test rows, texts and features `auto`:\n")
    common = [
        "--backbone",
        options.backbone,
        "--test",
        paths[1],
        "--features",
        "auto",
        "--overwrite",
        "--json",
        "--cache",
        options.work / "cache",
        "--quoting",
        "double",
    ]
    metrics = json.loads(
        run(options, "train", paths[0], "--number", "rating", "--out", options.work / "as-number", *common)
    )["tasks"]["rating"]["number"]
    run(options, "train", paths[0], "--task", "sentiment", "--out", options.work / "as-classes", *common)
    said = run(
        options,
        "predict",
        paths[1],
        "--model",
        options.work / "as-classes",
        "--all-probabilities",
        "--quoting",
        "double",
    ).splitlines()
    answers = [json.loads(line) for line in said]
    from scipy.stats import spearmanr

    classes = spearmanr(
        [row["sentiment_probability_positive"] - row["sentiment_probability_negative"] for row in answers],
        truth[1],
    ).statistic
    print(
        f"as a number {metrics['spearman']:.4f} (R² {metrics['r_squared']:.4f}), by the three classes {classes:.4f}"
    )


def spread(numbers):
    mean = sum(numbers) / len(numbers)
    return mean, (sum((one - mean) ** 2 for one in numbers) / max(len(numbers) - 1, 1)) ** 0.5


def promises(options):
    print("| what | asked | mean of splits | deviation | least | most |\n|---|---|---|---|---|---|")
    line = lambda what, asked, found: print(
        f"| {what} | {asked:g} % | {spread(found)[0]:.2f} % | {spread(found)[1]:.2f} | {min(found):.2f} | {max(found):.2f} |",
        flush=True,
    )
    seeds = range(13, 13 + options.splits)
    out = options.work / "promised"
    if options.ratings:
        path = write(
            options.work / "rating.csv",
            ["text", "rating"],
            [(text, rating) for text, _, rating in ratings(options)],
        )
        _, table = features(options, path, "rating")
        for level in (0.9, 0.5):
            found = []
            for seed in seeds:
                metrics = json.loads(
                    run(
                        options,
                        "train",
                        table,
                        "--number",
                        "rating",
                        "--interval",
                        level,
                        "--alpha",
                        100,
                        "--seed",
                        seed,
                        "--out",
                        out,
                        "--overwrite",
                        "--json",
                    )
                )
                found.append(100 * metrics["tasks"]["rating"]["number"]["interval"]["coverage"])
            line("rating, interval", 100 * level, found)
    if options.clinc:
        rows = [
            (row["text"], row["domain"])
            for part in ("train", "valid", "test")
            for row in read(options.clinc / f"clinc150_{part}.csv")
        ]
        path = write(options.work / "domains.csv", ["text", "domain"], rows)
        _, table = features(options, path, "domains")
        found = []
        for seed in seeds:
            run(
                options,
                "train",
                table,
                "--task",
                "domain",
                "--precision-at",
                0.95,
                "--alpha",
                10,
                "--seed",
                seed,
                "--out",
                out,
                "--overwrite",
            )
            last = json.loads(run(options, "eval", table, "--model", out, "--coverage", "--json"))[
                "coverage"
            ]["domain"][-1]
            found.append(100 * last["accuracy"])
        line("domain, precision of what is answered", 95, found)
        train, test = tags(options)
        path = write(
            options.work / "all-tags.csv",
            ["text", "tags"],
            [(text, ";".join(given)) for text, given in train + test],
        )
        _, table = features(options, path, "all-tags")
        found, recalled = [], []
        for seed in seeds:
            metrics = json.loads(
                run(
                    options,
                    "train",
                    table,
                    "--any-of",
                    "tags",
                    "--precision-at",
                    0.7,
                    "--alpha",
                    10,
                    "--seed",
                    seed,
                    "--out",
                    out,
                    "--overwrite",
                    "--json",
                )
            )["tasks"]["tags"]
            known = [
                label
                for label in metrics["per_label"]
                if label["precision"] is not None and label.get("threshold") is not None
            ]
            right = sum(label["recall"] * label["rows"] for label in known if label["recall"] is not None)
            said = sum(
                label["recall"] * label["rows"] / label["precision"] for label in known if label["precision"]
            )
            found.append(100 * right / said)
        line("tags, precision of labels with a threshold", 70, found)


def cost(options):
    rows = read(options.clinc / "clinc150_train.csv")
    path = write(
        options.work / "intents.csv",
        ["text", "one", "several"],
        [(row["text"], row["intent"], row["intent"]) for row in rows],
    )
    _, out = features(options, path, "intents")
    print("| task | alpha | seconds of the fit | seconds of the command | peak MB |\n|---|---|---|---|---|")
    for alpha in ("10", "auto"):
        for task in (["--task", "one"], ["--any-of", "several"]):
            fits, walls, peaks = [], [], []
            for _ in range(3):
                made = options.work / "cost"
                _, wall, peak = run(
                    options, "train", out, *task, "--alpha", alpha, "--out", made, "--overwrite", measure=True
                )
                fits.append(json.loads((made / "fit.json").read_text())[0]["seconds"])
                walls.append(wall), peaks.append(peak)
            print(
                f"| {task[0]} | {alpha} | {min(fits):.2f} | {min(walls):.2f} | {max(peaks):.0f} |", flush=True
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["several", "number", "promises", "cost"])
    parser.add_argument("frosthead", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clinc", type=Path)
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--ratings", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.0, 10.0, 100.0])
    options = parser.parse_args()
    options.frosthead = options.frosthead.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    {"several": several, "number": number, "promises": promises, "cost": cost}[options.part](options)


main()
