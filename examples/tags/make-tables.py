#!/usr/bin/env python3
"""Tweets, product reviews and film reviews with what fifteen or more people said of each; editorials as texts out of scope.

usage: make-tables.py vaderSentiment-3.3.2.tar.gz FOLDER      writes labelled.csv and out-of-scope.csv

The package (MIT) carries four tables of texts, and for each text the ratings that people gave it, from -4 to 4. From these:
  source   which table it is of: tweet, product_review, movie_review
  tags     praise: a quarter of the people rated it 1 or more; complaint: -1 or less; strong: 3 or -3, or beyond. A text that
           divides people has both of the first two, a plain statement has none.
  rating   the mean
Every fourth text is taken, and of the editorials every tenth. Refuses a package with other texts than it was written for.
"""

import ast
import csv
import io
import os
import sys
import tarfile

SOURCES = {"tweets": "tweet", "amazonReviewSnippets": "product_review", "movieReviewSnippets": "movie_review"}
OUT_OF_SCOPE = "nytEditorialSnippets"
ROWS = {"labelled.csv": 4_629, "out-of-scope.csv": 519}


def archive(package):
    with tarfile.open(package) as outer:
        name = next(name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        return tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read()))


def lines(inner, name):
    """Rows of a table: cells between tabs; the archive also holds AppleDouble files (._NAME), which are not ours."""
    member = next(member for member in inner.getmembers() if os.path.basename(member.name) == name)
    text = inner.extractfile(member).read().decode("utf-8-sig", "replace")
    return [line.split("\t") for line in text.replace("\r\n", "\n").split("\n") if line]


def tags(ratings):
    share = lambda agrees: sum(map(agrees, ratings)) / len(ratings) >= 0.25
    found = {
        "praise": share(lambda rating: rating >= 1),
        "complaint": share(lambda rating: rating <= -1),
        "strong": share(lambda rating: abs(rating) >= 3),
    }
    return ";".join(tag for tag, holds in found.items() if holds)


def labelled(inner):
    for table, source in SOURCES.items():
        ratings = {row[0]: ast.literal_eval(row[3]) for row in lines(inner, f"{table}_anonDataRatings.txt")}
        for number, mean, text in (row[:3] for row in lines(inner, f"{table}_GroundTruth.txt")):
            yield {
                "text": text.strip(),
                "source": source,
                "tags": tags(ratings[number]),
                "rating": round(float(mean), 2),
            }


def write(folder, name, rows):
    if len(rows) != ROWS[name]:
        sys.exit(
            f"make-tables.py: found {len(rows)} rows for {name}, expected {ROWS[name]}: the package is not the one this was written for"
        )
    temporary = os.path.join(folder, name + ".tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, os.path.join(folder, name))


def main():
    package, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    with archive(package) as inner:
        write(folder, "labelled.csv", list(labelled(inner))[::4])
        write(
            folder,
            "out-of-scope.csv",
            [{"text": row[2].strip()} for row in lines(inner, f"{OUT_OF_SCOPE}_GroundTruth.txt")][::10],
        )


if __name__ == "__main__":
    main()
