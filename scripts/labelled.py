"""Labelled tables as the scripts beside read, divide and write them, and how they compare answers."""

import csv, zlib


def read(path):
    csv.field_size_limit(1 << 30)
    with open(path, newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as target:
        out = csv.DictWriter(target, rows[0].keys(), quoting=csv.QUOTE_ALL, lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def split(data, seed):
    """Training and test rows: those of a folder NAME with NAME_train.csv and NAME_test.csv, or a table's, a fifth of whose texts is for testing."""
    if data.is_dir():
        return read(data / f"{data.name}_train.csv"), read(data / f"{data.name}_test.csv")
    sides = ([], [])
    for row in read(data):
        sides[zlib.crc32(f"{seed} {row['text']}".encode()) % 5 == 0].append(row)
    return sides


def spread(rows, count):
    """So many of the rows, evenly spread."""
    count = min(count, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def mean(numbers):
    return sum(numbers) / len(numbers)


def difference(pairs, same_rows):
    """Points and their standard error; `pairs` holds, per seed, both answers' rights."""
    gains = [[b - a for a, b in zip(*pair)] for pair in pairs]
    gains = [mean(row) for row in zip(*gains)] if same_rows else sum(gains, [])
    value = mean(gains)
    return 100 * value, 100 * sum((gain - value) ** 2 for gain in gains) ** 0.5 / len(gains)


def numbers_to(text):
    """13-16 → 13, 14, 15, 16."""
    first, last = (int(number) for number in (text.split("-") * 2)[:2])
    return range(first, last + 1)
