#!/usr/bin/env python3
"""The demo data: tweets, product reviews, film reviews and editorials with two labels, from vaderSentiment's sources.

usage: make-demo-data.py vaderSentiment-3.3.2.tar.gz OUT.csv

The package carries four tables of `id<TAB>mean rating from -4 to 4<TAB>text`. The table tells the domain; the rating tells the
sentiment: positive from 0.5, negative to -0.5, else neutral. White space around a text is stripped; of equal rows one is
kept, and rows of one text with different labels are left out. Fails unless that gives exactly the rows it should.
"""

import csv
import io
import os
import sys
import tarfile
from collections import Counter

TABLES = {
    "tweets": "tweet",
    "amazonReviewSnippets": "product_review",
    "movieReviewSnippets": "movie_review",
    "nytEditorialSnippets": "news_editorial",
}
ROWS = 23_610


def tables(package):
    with tarfile.open(package) as outer:
        name = next(name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read())) as inner:
            for table, domain in TABLES.items():
                # The archive also holds AppleDouble files (._NAME): not ours.
                member = next(
                    m for m in inner.getmembers() if os.path.basename(m.name) == f"{table}_GroundTruth.txt"
                )
                yield domain, inner.extractfile(member).read().decode("utf-8")


def sentiment(rating):
    return "positive" if rating >= 0.5 else "negative" if rating <= -0.5 else "neutral"


def main():
    package, out = sys.argv[1:3]
    rows = []
    for domain, table in tables(package):
        for line in table.split("\r\n"):
            if line:
                _, rating, text = line.split("\t", 2)
                rows.append((text.strip(), domain, sentiment(float(rating))))
    labels = {}
    for text, domain, mood in rows:
        labels.setdefault(text, set()).add((domain, mood))
    kept, seen = [], set()
    for row in rows:
        if len(labels[row[0]]) == 1 and row[0] not in seen:
            seen.add(row[0])
            kept.append(row)
    if len(kept) != ROWS:
        sys.exit(
            f"make-demo-data.py: found {len(kept)} rows, expected {ROWS}: the package is not the one this was written for"
        )
    temporary = out + ".tmp"
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "domain", "sentiment"])
        writer.writerows(kept)
    os.replace(temporary, out)
    print(
        f"{out}: {len(kept)} rows; "
        + ", ".join(f"{name} {count}" for name, count in Counter(r[2] for r in kept).items())
    )


if __name__ == "__main__":
    main()
