#!/usr/bin/env python3
"""Which features of words suit a head best: sparse logistic regressions on what stands in texts, mixed with dense heads.

usage: words-features.py --work DIR --data DIR [--seeds 13,14] [--cells NAME:TASK:ROWS,…] STEP …

Steps: `embed FROSTHEAD BACKBONE` computes the means of every layer of all sets; `dense` fits the heads on them (columns up to depth
0, 3 and all), three folds and all rows, penalty by the least cross entropy at the best temperature; `words VARIANT …` fits words in
the variants named (`all`: every one); `mixes` compares rules of mixing; `joint` fits both side by side; `table` prints what was
found. Everything is kept in --work and not done twice; the sets lie in --data, each
in a folder of its name, but for the demo data. Objective everywhere: sum of cross entropies + alpha / 2 · |W|².
A text of several windows has the mean of their features, each as often as it has tokens. Sets: demo, clinc150, uci_sentiment and
polarity2 (windows of 256 tokens, at depth 0 alone: --depths 0; the others' first 256 tokens); of a table without a test file, a fifth by the hash of seed and text.
needs: numpy, scipy, pyarrow, tokenizers.
"""

import argparse, csv, json, subprocess, sys, time, zlib
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from words_model import Both, calibrated, losses, mix, mixed, path

DENSE_GRID = [3000, 1000, 300, 100, 30, 10, 3, 1]
WORDS_GRID = [10, 3, 1, 0.3, 0.1, 0.03, 0.01]
DEPTHS = {"0": 384, "3": 4 * 384, "all": 7 * 384}
SETS = ["uci_sentiment", "clinc150", "demo", "polarity2"]
CELLS = (
    "demo:domain:4000,demo:sentiment:4000,clinc150:domain:4000,uci_sentiment:domain:all,uci_sentiment:sentiment:all,"
    "polarity2:sentiment:all,demo:domain:1000,demo:sentiment:1000,clinc150:domain:1000,uci_sentiment:domain:1000,"
    "uci_sentiment:sentiment:1000,polarity2:sentiment:1000,clinc150:intent:1000"
)
WINDOW = 256
P1, P2, P3 = 2654435761, 2246822519, 3266489917
PRIMES = {
    12: 4093,
    13: 8191,
    14: 16381,
    15: 32749,
    16: 65521,
    17: 131071,
    18: 262139,
    20: 1048573,
    22: 4194301,
}

BASE = dict(
    special=True,
    pieces=True,
    pairs=True,
    skips=False,
    triples=False,
    whole=False,
    k=16,
    presence=False,
    idf=False,
    norm="sqrt",
    at_least=2,
)
VARIANTS = {
    "base": {},
    "no special tokens": dict(special=False),
    "pieces alone": dict(pairs=False),
    "pairs alone": dict(pieces=False),
    "+ skips": dict(skips=True),
    "+ triples": dict(triples=True),
    "+ skips + triples": dict(skips=True, triples=True),
    "+ whole words": dict(whole=True),
    "presence": dict(presence=True),
    "presence, l2": dict(presence=True, norm="l2"),
    "idf": dict(idf=True),
    "idf, l2": dict(idf=True, norm="l2"),
    "weaker penalties": dict(grid=[0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]),
    "idf, weaker penalties": dict(idf=True, grid=[0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]),
    "idf squared": dict(idf="squared"),
    "df^-.5": dict(idf="df^-.5"),
    "df^-.25": dict(idf="df^-.25"),
    "idf, k = 14": dict(idf=True, k=14),
    "idf, k = 18": dict(idf=True, k=18),
    "idf, pieces alone": dict(idf=True, pairs=False),
    "idf, in 1 row": dict(idf=True, at_least=1),
    "idf, in 3 rows": dict(idf=True, at_least=3),
    "idf, + skips": dict(idf=True, skips=True),
    "idf, + triples": dict(idf=True, triples=True),
    "idf, presence": dict(idf=True, presence=True),
    "idf, norm none": dict(idf=True, norm="none"),
    "idf, no special tokens": dict(idf=True, special=False),
    "norm none": dict(norm="none"),
    "norm n": dict(norm="n"),
    "norm l2": dict(norm="l2"),
    "norm n^.75": dict(norm="n75"),
    "norm n^.25": dict(norm="n25"),
    "k = 12": dict(k=12),
    "k = 13": dict(k=13),
    "k = 14": dict(k=14),
    "k = 15": dict(k=15),
    "k = 17": dict(k=17),
    "k = 18": dict(k=18),
    "k = 22": dict(k=22),
    "in 1 row": dict(at_least=1),
    "in 3 rows": dict(at_least=3),
    "in 5 rows": dict(at_least=5),
}


class Set:
    def __init__(self, options, name):
        self.name, self.folder, shared = name, options.work, options.data
        files = (
            [Path("data/demo.csv")]
            if name == "demo"
            else [shared / name / f"{name}_{side}.csv" for side in ("train", "test")]
        )
        self.rows, self.side = [], []
        csv.field_size_limit(1 << 30)
        for number, file in enumerate(files):
            with open(file, newline="", encoding="utf-8") as source:
                part = list(csv.DictReader(source))
            self.rows += part
            self.side += [number] * len(part)
        self.files, self.stored = files, name
        self.counted = None

    def split(self, seed, count):
        if self.name == "demo":
            test = np.array([zlib.crc32(f"{seed} {row['text']}".encode()) % 5 == 0 for row in self.rows])
        else:
            test = np.array(self.side) == 1
        training = np.random.default_rng(seed).permutation(np.flatnonzero(~test))
        return training if count == "all" else training[: int(count)], np.flatnonzero(test)

    def features(self):
        """Means of all layers; those of all of demo only of the embeddings (`demo-0.npy`)."""
        return np.load(self.folder / f"{self.stored}.npy", mmap_mode="r")

    def tokens(self):
        """All windows' ids, special tokens included, one after another; per window its row; and per token the number of its word."""
        kept = self.folder / f"{self.name}.tokens.npz"
        if not kept.exists():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(".downloads/all-MiniLM-L6-v2/tokenizer.json")
            tokenizer.no_truncation()
            tokenizer.no_padding()
            ids, lengths, owners, words = [], [], [], []
            body = WINDOW - 2
            for row, found in enumerate(
                tokenizer.encode_batch([row["text"] for row in self.rows], add_special_tokens=False)
            ):
                starts = range(0, max(len(found.ids), 1), body) if self.name == "polarity2" else [0]
                for start in starts:
                    part = found.ids[start : start + body]
                    ids += [101, *part, 102]
                    words += [-1, *found.word_ids[start : start + body], -1]
                    lengths.append(len(part) + 2)
                    owners.append(row)
            np.savez(
                kept,
                ids=np.array(ids, np.int64),
                lengths=np.array(lengths),
                owners=np.array(owners),
                words=np.array(words),
            )
        return np.load(kept)

    def matrix(self, spec):
        """[rows, places] of a variant, before what stands in few rows is left out, and the seldom occurring."""
        if self.counted is None:
            self.counted = {key: value for key, value in self.tokens().items()}
        ids, lengths, owners, words = (self.counted[key] for key in ("ids", "lengths", "owners", "words"))
        windows = np.repeat(np.arange(len(lengths)), lengths)
        if not spec["special"]:
            keep = (ids != 101) & (ids != 102)
            ids, windows, words = ids[keep], windows[keep], words[keep]
        prime = PRIMES[spec["k"]]
        lists, base = [], 0
        if spec["pieces"]:
            lists.append((windows, ids))
            base = 30522
        for wanted, far in (("pairs", 1), ("skips", 2)):
            if spec[wanted]:
                same = windows[far:] == windows[:-far]
                extra = 0 if far == 1 else 97
                lists.append(
                    (windows[far:][same], base + ((ids[:-far] * P1 + ids[far:] * P2 + extra) % prime)[same])
                )
                base += prime
        if spec["triples"]:
            same = windows[2:] == windows[:-2]
            mixed_ids = ((ids[:-2] * P1 + ids[1:-1] * P2) % 4294967291 + ids[2:] * P3) % prime
            lists.append((windows[2:][same], base + mixed_ids[same]))
            base += prime
        if spec["whole"]:
            starts = np.flatnonzero(np.r_[True, (words[1:] != words[:-1]) | (windows[1:] != windows[:-1])])
            sizes = np.diff(np.r_[starts, len(ids)])
            hashed = np.zeros(len(starts), np.int64)
            for place in range(int(min(sizes.max(), 12))):
                there = sizes > place
                hashed[there] = (hashed[there] * P1 + ids[starts[there] + place] * P2 + 1) % 4294967291
            long = sizes > 1
            lists.append((windows[starts][long], base + hashed[long] % prime))
            base += prime
        at, places = (np.concatenate(part) for part in zip(*lists))
        tokens = np.bincount(windows, minlength=len(lengths)).astype(float)
        counts = sp.coo_matrix((np.ones(len(at)), (at, places)), shape=(len(lengths), base)).tocsr()
        counts.sum_duplicates()
        if spec["presence"]:
            counts.data[:] = 1
        rows = int(owners[-1]) + 1
        per_row = np.bincount(owners, tokens, rows)
        share = tokens / np.maximum(per_row, 1)[owners]
        gather = sp.coo_matrix((share, (owners, np.arange(len(owners)))), shape=(rows, len(owners))).tocsr()
        return counts, gather, np.maximum(tokens, 1)

    def prepared(self, spec, training):
        """Rows of all texts and the columns that stood in enough of the training rows."""
        counts, gather, tokens = self.matrix(spec)
        owner_counts = (gather != 0).astype(np.float64) @ counts
        owner_counts = owner_counts.tocsr()
        documents = np.bincount(owner_counts[training].indices, minlength=counts.shape[1])
        if spec["idf"]:
            rarity = np.log((1 + len(training)) / (1 + documents)) + 1
            seen = np.maximum(documents, 1)
            weights = {True: rarity, "squared": rarity**2, "df^-.5": seen**-0.5, "df^-.25": seen**-0.25}[
                spec["idf"]
            ]
            counts = counts @ sp.diags(weights)
        if spec["norm"] == "l2":
            norms = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
            counts = sp.diags(1 / np.maximum(norms, 1e-9)) @ counts
        else:
            power = {"sqrt": 0.5, "n": 1, "none": 0, "n75": 0.75, "n25": 0.25}[spec["norm"]]
            counts = sp.diags(tokens**-power) @ counts
        x = (gather @ counts).tocsr()
        # One penalty means about the same to every variant whose rows would have other norms.
        if spec["idf"] or spec["norm"] != "sqrt":
            training_rows = x[training]
            x = x * (1.4 / np.sqrt(training_rows.multiply(training_rows).sum(1).mean()))
        return x.astype(np.float32), owner_counts.sign().tocsr()


class Cell:
    """One task of a set with so many training rows."""

    def __init__(self, data, task, count, seed):
        self.data, self.task, self.count, self.seed = data, task, count, seed
        self.name = f"{data.name}-{task}-{count}-{seed}"
        self.training, self.test = data.split(seed, count)
        labels = sorted({data.rows[i][task] for i in self.training})
        numbers = {label: number for number, label in enumerate(labels)}
        self.y = np.array([numbers[data.rows[i][task]] for i in self.training])
        self.y_test = np.array([numbers.get(data.rows[i][task], -1) for i in self.test])
        self.classes = len(labels)
        order = np.random.default_rng(seed + 1).permutation(len(self.y))
        order = order[np.argsort(self.y[order], kind="stable")]
        self.fold = np.empty(len(self.y), int)
        self.fold[order] = np.arange(len(order)) % 3

    def kept(self, kind):
        return self.data.folder / "kept" / f"{self.name}-{kind}.npz"

    def right(self, logits):
        return (logits.argmax(1) == self.y_test).astype(float)


def standardised(x, rows):
    mean, deviation = x[rows].mean(0), x[rows].std(0)
    return (x - mean) / np.where(deviation > 1e-9, deviation, 1)


def embed(options, frosthead, backbone):
    import pyarrow.parquet as pq

    for name in SETS:
        data, out = Set(options, name), options.work / f"{name}.npy"
        if out.exists():
            continue
        needed, files = np.arange(len(data.rows)), data.files
        if name == "demo":
            needed = np.unique(
                np.concatenate([np.concatenate(data.split(seed, 4000)) for seed in options.seeds])
            )
            files = [options.work / "demo.csv"]
            with open(files[0], "w", newline="", encoding="utf-8") as target:
                csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
                    [["text"]] + [[data.rows[row]["text"]] for row in needed]
                )
        parts = []
        for number, file in enumerate(files):
            target = options.work / f"{name}-{number}.parquet"
            # Long documents take an hour on a busy machine through all layers: the embeddings alone.
            long = (
                ["--long", "windows", "--window", str(WINDOW), "--depth", "0"] if name == "polarity2" else []
            )
            subprocess.run(
                [
                    frosthead,
                    "embed",
                    str(file),
                    "--backbone",
                    backbone,
                    "--features",
                    "all",
                    "--out",
                    str(target),
                    "--cache",
                    str(options.work / "cache"),
                    "--quoting",
                    "double",
                    *long,
                ],
                check=True,
            )
            column = pq.read_table(target, columns=["features"])["features"].combine_chunks()
            parts.append(
                column.values.to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float32)
            )
        together = np.zeros((len(data.rows), parts[0].shape[1]), np.float32)
        together[needed] = np.concatenate(parts)
        np.save(out, together)
        print(name, together.shape, flush=True)


def fit_dense(cell, depth):
    kept = cell.kept(f"dense-{depth}")
    if kept.exists():
        return
    x = np.asarray(cell.data.features()[np.r_[cell.training, cell.test]][:, : DEPTHS[depth]], np.float32)
    if x.shape[1] < DEPTHS[depth]:
        return  # only the embeddings were computed
    rows = len(cell.y)
    grid = DENSE_GRID[:-1] if cell.classes < 20 else DENSE_GRID[1:]
    out = {alpha: np.zeros((rows, cell.classes), np.float32) for alpha in grid}
    scores = {}
    folds = [np.flatnonzero(cell.fold != fold) for fold in range(3)]
    scaled = [standardised(x[:rows], inside) for inside in folds]
    paths = [
        path(scaled[fold][inside], cell.y[inside], cell.classes, grid) for fold, inside in enumerate(folds)
    ]
    for alpha in grid:
        for fold, one in enumerate(paths):
            _, w, b = next(one)
            outside = cell.fold == fold
            out[alpha][outside] = scaled[fold][outside] @ w + b
        scores[alpha] = calibrated(out[alpha], cell.y).mean()
        recent = [scores[a] for a in grid[: len(scores)]]
        if len(recent) > 1 and recent[-1] > recent[-2]:
            break
    alpha = min(scores, key=scores.get)
    whole = standardised(x, np.arange(rows))
    _, w, b = list(path(whole[:rows], cell.y, cell.classes, [a for a in grid if a >= alpha][-2:]))[-1]
    np.savez(kept, out=out[alpha], test=whole[rows:] @ w + b, alpha=alpha)


def dense(options):
    for cell in cells(options):
        for depth in options.depths:
            start = time.time()
            fit_dense(cell, depth)
            print(f"dense {cell.name} {depth}: {time.time() - start:.1f} s", file=sys.stderr, flush=True)


def columns(present, rows, at_least):
    return np.flatnonzero(np.bincount(present[rows].indices, minlength=present.shape[1]) >= at_least)


def fit_words(cell, spec, name):
    """Out-of-fold and test logits of every penalty."""
    kept = cell.kept("words-" + name.replace("/", "_"))
    if kept.exists():
        return
    start = time.time()
    grid = spec.get("grid") or WORDS_GRID
    x, present = cell.data.prepared(spec, cell.training)
    train_x, present = x[cell.training], present[cell.training]
    out = np.zeros((len(grid), len(cell.y), cell.classes), np.float32)
    for fold in range(3):
        inside, outside = np.flatnonzero(cell.fold != fold), np.flatnonzero(cell.fold == fold)
        used = columns(present, inside, spec["at_least"])
        for number, (_, w, b) in enumerate(
            path(train_x[inside][:, used].tocsr(), cell.y[inside], cell.classes, grid)
        ):
            out[number, outside] = train_x[outside][:, used] @ w + b
    used = columns(present, np.arange(len(cell.y)), spec["at_least"])
    unseen = x[cell.test][:, used]
    test = np.stack(
        [unseen @ w + b for _, w, b in path(train_x[:, used].tocsr(), cell.y, cell.classes, grid)]
    )
    np.savez(
        kept, out=out, test=test.astype(np.float32), grid=grid, used=len(used), seconds=time.time() - start
    )


def words(options, names):
    names = list(VARIANTS) if names == ["all"] else names
    for name in names:
        for cell in cells(options):
            start = time.time()
            fit_words(cell, {**BASE, **VARIANTS[name]}, name)
            print(f"words {name} {cell.name}: {time.time() - start:.1f} s", file=sys.stderr, flush=True)


def found(cell, variant, depths):
    """What a variant gives in a cell: penalty by the words' own cross entropy; the fitted mix with every depth."""
    pack = np.load(cell.kept("words-" + variant))
    losses = [calibrated(out, cell.y).mean() for out in pack["out"]]
    best = int(np.argmin(losses))
    out, test = pack["out"][best], pack["test"][best]
    told = {
        "alpha": float(pack["grid"][best]),
        "used": int(pack["used"]),
        "words": cell.right(test),
        "loss": losses[best],
    }
    for depth in depths:
        head = np.load(cell.kept(f"dense-{depth}"))
        counts = mix([head["out"], out], cell.y)
        told[depth] = {
            "dense": cell.right(head["test"]),
            "mix": cell.right(mixed([head["test"], test], counts)),
            "counts": counts,
            "cross": losses(mixed([head["out"], out], counts), cell.y).mean(),
        }
    return told


def points(rights):
    """Mean and standard error in points, of lists of differences, one per cell."""
    value = np.mean([r.mean() for r in rights])
    error = np.sqrt(np.sum([r.var() / len(r) for r in rights])) / len(rights)
    return 100 * value, 100 * error


def show(pair):
    return f"{pair[0]:+.2f} ± {pair[1]:.2f}"


def table(options):
    everything, depths = list(cells(options)), options.depths
    print(
        "| set, task, rows, seed | alpha | places | words alone | "
        + " | ".join(f"depth {d} | mixed | gain | a, b" for d in depths)
        + " |"
    )
    print("|---" * (4 + 4 * len(depths)) + "|")
    base = {}
    for cell in everything:
        if not cell.kept("words-base").exists() or not all(cell.kept(f"dense-{d}").exists() for d in depths):
            continue
        told = base[cell.name] = found(cell, "base", depths)
        line = f"| {cell.name} | {told['alpha']} | {told['used']} | {100 * told['words'].mean():.1f} | "
        for depth in depths:
            at = told[depth]
            line += (
                f"{100 * at['dense'].mean():.1f} | {100 * at['mix'].mean():.1f} | {show(points([at['mix'] - at['dense']]))} | "
                f"{at['counts'][0]:.2f}, {at['counts'][1]:.2f} | "
            )
        print(line)
    gains = {
        depth: points([told[depth]["mix"] - told[depth]["dense"] for told in base.values()])
        for depth in depths
    }
    print(
        "\nmean gain of the mix: "
        + ", ".join(f"depth {depth} {show(gain)}" for depth, gain in gains.items())
        + "\n"
    )
    print(
        "| variant against base | places | words alone | "
        + " | ".join(f"mixed, depth {depth}" for depth in depths)
        + " | mixed, all depths | cross entropy out of fold |"
    )
    print("|---" * (5 + len(depths)) + "|")
    for name in VARIANTS:
        pairs = [
            (base[cell.name], found(cell, name, depths))
            for cell in everything
            if cell.name in base and cell.kept("words-" + name).exists()
        ]
        if not pairs:
            continue
        alone = points([new["words"] - old["words"] for old, new in pairs])
        each = [points([new[d]["mix"] - old[d]["mix"] for old, new in pairs]) for d in depths]
        # The depths of a cell are one sample: their errors are not independent.
        all_depths = points(
            [np.mean([new[d]["mix"] - old[d]["mix"] for d in depths], 0) for old, new in pairs]
        )
        cross = np.mean([new[d]["cross"] - old[d]["cross"] for old, new in pairs for d in depths])
        places = np.mean([new["used"] for _, new in pairs])
        print(
            f"| {name} ({len(pairs)}) | {places:,.0f} | {show(alone)} | "
            + " | ".join(map(show, each))
            + f" | {show(all_depths)} | {cross:+.4f} |"
        )


def rules(cell, depth, pack):
    """Test rights of every rule of mixing, of the base variant's logits."""
    head = np.load(cell.kept(f"dense-{depth}"))
    d_out, d_test, y = head["out"], head["test"], cell.y
    losses = [calibrated(out, y).mean() for out in pack["out"]]
    best = int(np.argmin(losses))
    grid = [float(alpha) for alpha in pack["grid"]]
    fits = [mix([d_out, out], y) for out in pack["out"]]
    crosses = [losses(mixed([d_out, out], counts), y) for out, counts in zip(pack["out"], fits)]
    told = {"dense": d_test, "words alone": pack["test"][best]}
    out, test = pack["out"][best], pack["test"][best]
    told["fitted a, b"] = mixed([d_test, test], fits[best])
    rare = np.load(cell.kept("words-df^-.5"))
    rarest = int(np.argmin([calibrated(one, y).mean() for one in rare["out"]]))
    for text, one, two in (
        ("plain and df^-.5, fitted a, b, c", best, rarest),
        ("the same, penalties .03 and .1", grid.index(0.03), grid.index(0.1)),
    ):
        counts = mix([d_out, pack["out"][one], rare["out"][two]], y)
        told[text] = mixed([d_test, pack["test"][one], rare["test"][two]], counts)
    told["df^-.5 alone, fitted a, b"] = mixed(
        [d_test, rare["test"][rarest]], mix([d_out, rare["out"][rarest]], y)
    )
    told["fitted a, b, prior 0"] = mixed([d_test, test], mix([d_out, out], y, 1e-6))
    told["fitted a, b, prior 10"] = mixed([d_test, test], mix([d_out, out], y, 10))
    together = int(np.argmin([cross.mean() for cross in crosses]))
    told["fitted, words' penalty by the mix"] = mixed([d_test, pack["test"][together]], fits[together])
    for alpha in (1, 0.3, 0.1, 0.03):
        at = grid.index(alpha)
        told[f"fitted, words' penalty {alpha}"] = mixed([d_test, pack["test"][at]], fits[at])
    a, b = mix([d_out], y)[0], mix([out], y)[0]
    for share in (0.2, 0.3, 0.4, 0.5):
        told[f"{1 - share:.1f} · dense + {share:.1f} · words, each at its temperature"] = mixed(
            [d_test, test], [a * (1 - share), b * share]
        )
    one = mix([a * d_out + b * out], y)[0]
    told["one temperature of both at theirs"] = mixed([d_test, test], [one * a, one * b])
    for ratio in (0.3, 0.5, 1):
        told[f"dense + {ratio} · words, one temperature"] = mixed([d_test, test], [1, ratio])
    before = losses(a * d_out, y)
    for strict in (0, 1, 2):
        gain = before - crosses[best]
        told[f"fitted where it gains {strict} errors of cross entropy"] = (
            told["fitted a, b"] if gain.mean() > strict * gain.std() / len(gain) ** 0.5 else d_test
        )
    right_d, right_m = d_out.argmax(1) == y, mixed([d_out, out], fits[best]).argmax(1) == y
    told["fitted where it answers no fewer right"] = (
        told["fitted a, b"] if right_m.sum() >= right_d.sum() else d_test
    )
    known = cell.y_test >= 0
    told["hindsight: a, b of the test rows"] = mixed(
        [d_test, test], mix([d_test[known], test[known]], cell.y_test[known])
    )
    return {
        name: (cell.right(logits), losses(logits, cell.y_test)[known].mean()) for name, logits in told.items()
    }


def mixes(options):
    depths, all_told = options.depths, []
    for cell in cells(options):
        if all(
            cell.kept(kind).exists()
            for kind in ["words-base", "words-df^-.5", *[f"dense-{d}" for d in depths]]
        ):
            pack = {key: value for key, value in np.load(cell.kept("words-base")).items()}
            all_told.append((cell, {depth: rules(cell, depth, pack) for depth in depths}))
    small = [told for cell, told in all_told if cell.count == "1000"]
    large = [told for cell, told in all_told if cell.count != "1000"]
    print(
        f"| rule, {len(all_told)} cells: gain on the dense head | 1,000 rows | more | all | worst cell | "
        + " | ".join(f"depth {d}" for d in depths)
        + " | cross entropy |"
    )
    print("|---" * (6 + len(depths)) + "|")
    for rule in all_told[0][1][depths[0]]:

        def gain(told, which=depths):
            return np.mean([told[d][rule][0] - told[d]["dense"][0] for d in which], 0)

        everything = [told for _, told in all_told]
        worst = min((100 * gain(told, [d]).mean(), cell.name, d) for cell, told in all_told for d in depths)
        parts = [
            show(points([gain(told) for told in some])) if some else "" for some in (small, large, everything)
        ]
        each = [show(points([gain(told, [d]) for told in everything])) for d in depths]
        cross = np.mean([told[d][rule][1] - told[d]["dense"][1] for told in everything for d in depths])
        print(
            f"| {rule} | "
            + " | ".join(parts)
            + f" | {worst[0]:+.1f} {worst[1]} {worst[2]} | "
            + " | ".join(each)
            + f" | {cross:+.4f} |"
        )


def joint(options):
    """One fit of both side by side, and words fitted on what the dense head's out-of-fold logits leave, against the mix."""
    grid = [10, 3, 1, 0.3, 0.1, 0.03]
    print(
        "| cell | depth | dense | mix of two fits | joint | joint − mix | words behind the dense logits | − mix |\n|"
        + "---|" * 8
    )
    sums = {"joint": [], "behind": []}
    for cell in cells(options):
        x, present = cell.data.prepared(BASE, cell.training)
        train_x, present, unseen = x[cell.training], present[cell.training], x[cell.test]
        told = found(cell, "base", options.depths)
        for depth in options.depths:
            head, rows = np.load(cell.kept(f"dense-{depth}")), len(cell.y)
            dense_alpha = float(head["alpha"])
            states = np.asarray(
                cell.data.features()[np.r_[cell.training, cell.test]][:, : DEPTHS[depth]], np.float32
            )
            results = {}
            for way in ("joint", "behind"):
                start_at = mix([head["out"]], cell.y)[0]

                def fit(inside, outside, alphas):
                    """Logits for other rows (numbers from `rows` on are test rows) of each penalty."""
                    used = columns(present, inside, 2)
                    part = train_x[inside][:, used].tocsr()
                    test = outside[0] >= rows
                    other = (unseen if test else train_x[outside])[:, used]
                    if way == "behind":
                        base = (head["test"] if test else head["out"][outside]) * start_at
                        for _, w, b in path(
                            part,
                            cell.y[inside],
                            cell.classes,
                            alphas,
                            offset=head["out"][inside] * np.float32(start_at),
                        ):
                            yield other @ w + b + base
                        return
                    mean, deviation = states[inside].mean(0), states[inside].std(0)
                    deviation = np.where(deviation > 1e-9, deviation, 1)
                    side, far = (states[inside] - mean) / deviation, (states[outside] - mean) / deviation
                    for alpha in alphas:
                        both = Both(side, part)
                        extra = np.r_[np.full(side.shape[1], dense_alpha / alpha), np.ones(len(used))]
                        _, w, b = next(path(both, cell.y[inside], cell.classes, [alpha], weights=extra))
                        yield far @ w[: side.shape[1]] + other @ w[side.shape[1] :] + b

                out = np.zeros((len(grid), rows, cell.classes), np.float32)
                for fold in range(3):
                    inside, outside = np.flatnonzero(cell.fold != fold), np.flatnonzero(cell.fold == fold)
                    for number, logits in enumerate(fit(inside, outside, grid)):
                        out[number, outside] = logits
                best = int(np.argmin([calibrated(one, cell.y).mean() for one in out]))
                alphas = grid[: best + 1] if way == "behind" else [grid[best]]
                results[way] = cell.right(
                    list(fit(np.arange(rows), np.arange(rows, len(states)), alphas))[-1]
                )
            mixed_right = told[depth]["mix"]
            line = f"| {cell.name} | {depth} | {100 * told[depth]['dense'].mean():.1f} | {100 * mixed_right.mean():.1f} |"
            for way in ("joint", "behind"):
                sums[way].append(results[way] - mixed_right)
                line += f" {100 * results[way].mean():.1f} | {show(points([sums[way][-1]]))} |"
            print(line, flush=True)
    print("| mean | | | | | " + show(points(sums["joint"])) + " | | " + show(points(sums["behind"])) + " |")


def cells(options):
    sets = {}
    for seed in options.seeds:
        for cell in options.cells:
            name, task, count = cell.split(":")
            data = sets.setdefault((name, count == "all"), Set(options, name))
            data.stored = "demo-0" if name == "demo" and count == "all" else name
            if count == "all" and name in ("uci_sentiment", "polarity2") and seed != options.seeds[0]:
                continue  # the same rows again
            yield Cell(data, task, count, seed)


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument(
        "--seeds", default="13,14", type=lambda text: [int(seed) for seed in text.split(",")]
    )
    arguments.add_argument("--cells", default=CELLS, type=lambda text: text.split(","))
    arguments.add_argument("--depths", default="0,3,all", type=lambda text: text.split(","))
    arguments.add_argument("step", choices=["embed", "dense", "words", "mixes", "joint", "table"])
    arguments.add_argument("more", nargs="*")
    options = arguments.parse_args()
    options.cells = options.cells.split(",") if isinstance(options.cells, str) else options.cells
    (options.work / "kept").mkdir(parents=True, exist_ok=True)
    step = {"embed": embed, "dense": dense, "mixes": mixes, "joint": joint, "table": table}.get(options.step)
    words(options, options.more) if options.step == "words" else step(options, *options.more)


if __name__ == "__main__":
    main()
