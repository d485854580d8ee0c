"""Labelled tables as the scripts beside read and write them."""
import csv


def read(path):
    csv.field_size_limit(1 << 30)
    with open(path, newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as target:
        out = csv.DictWriter(target, rows[0].keys(), quoting=csv.QUOTE_ALL, lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
