"""What is computed from measurements, without any: medians, ratios, fits, tables, the place in docs/performance.md."""

import datetime
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import contestants
import frontier
import main
import material
import report
import single
import summary
import turns
from environments import Unavailable


def extraction_row(contestant, which, seconds, same=True):
    return {
        "contestant": contestant,
        "which": which,
        "settings": {"batch_size": 8} if which == "best" else {},
        "seconds": seconds,
        "precision": "fp32",
        "cosine": {"mean": 0.99999, "least": 0.98765},
        "same": same,
        "command": "peer",
    }


def extraction(same=True):
    rows = [
        extraction_row("frosthead fp32", "default", [1.0, 2.0, 4.0]),
        extraction_row("frosthead fp32", "best", [0.5, 1.0, 2.0]),
        extraction_row("peer & co", "default", [3.0, 5.0, 16.0], same=same),
        extraction_row("peer & co", "best", [2.0, 3.0, 5.0], same=same),
    ]
    return {
        "job": "extraction",
        "set": "short texts",
        "amount": 120,
        "unit": "texts/s",
        "reference": "peer & co",
        "rows": rows,
    }


class Turns(unittest.TestCase):
    def test_ratios_are_of_the_same_round(self):
        # Of the medians it would be 5 / 2.
        self.assertEqual(
            turns.times_faster([1.0, 2.0, 4.0], [3.0, 5.0, 16.0]), {"median": 3.0, "least": 2.5, "most": 4.0}
        )

    def test_every_round_begins_with_another_one(self):
        order = []
        measures = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
        turns.take_turns(measures, 3, turns.Skips())
        self.assertEqual("".join(order), "abcbcacab")

    def test_one_that_fails_is_left_out_with_its_reason(self):
        def fail():
            raise Unavailable("no such library")

        skips = turns.Skips()
        skips.job = "heads"
        self.assertEqual(turns.take_turns({"a": lambda: 1.0, "b": fail}, 2, skips), {"a": [1.0, 1.0]})
        self.assertEqual(skips.reasons, {"heads": {"b": "no such library"}})

    def test_percentile_and_line(self):
        self.assertEqual(
            [turns.percentile(range(1, 101), share) for share in (0.5, 0.95, 0.99)], [50, 95, 99]
        )
        line = turns.line_fit([1, 2, 3], [5, 7, 9])
        (
            self.assertAlmostEqual(line["slope"], 2),
            self.assertAlmostEqual(line["intercept"], 3),
            self.assertAlmostEqual(line["largest_error"], 0),
        )
        # What is off by a fifth at the large end says nothing of the small one.
        line = turns.line_fit([1, 10, 100, 1000], [1.1, 2, 11, 80])
        self.assertTrue(0.9 < line["intercept"] < 1.1 and 0.05 < line["largest_error"] < 0.25, line)


class Processes(unittest.TestCase):
    def test_launch_reads_its_input_and_reports_a_failure(self):
        self.assertGreater(single.launch(["/bin/cat"], "x")["peak_rss_bytes"], 100_000)
        self.assertGreaterEqual(
            single.launch(["/bin/sh", "-c", "read line; sleep $line"], "0.2")["seconds"], 0.2
        )
        with self.assertRaisesRegex(Unavailable, "status 3: no such model"):
            single.launch(["/bin/sh", "-c", "echo no such model >&2; exit 3"], "")

    def test_a_worker_answers_fails_and_ends(self):
        worker = turns.Worker(
            [
                "/bin/sh",
                "-c",
                """read one; echo "{\\"seconds\\": 2}"; read two; echo "{\\"error\\": \\"$two\\"}"; echo gone >&2""",
            ]
        )
        self.assertEqual(worker.ask("pass", {}), {"seconds": 2})
        with self.assertRaisesRegex(Unavailable, "failed: a pass of 8"):
            worker.process.stdin.write("a pass of 8\n")
            worker.ask("pass", 1)
        with self.assertRaisesRegex(Unavailable, "ended: gone"):
            worker.ask("pass", 2)
        worker.stop()


PEER = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import labelling

def fit(options, train, validation):
    places, labels = labelling.labelled(train, "mood")
    with open(options["folder"] + "/kept", "w") as file:
        file.write(labels[-1])
    return {"chosen": f"{places} of {train['text']}, {validation['mood']}"}

def load(options):
    kept = open(options["folder"] + "/kept").read()
    return lambda texts, settings: {"mood": [text + kept + settings.get("end", "") for text in texts]}

labelling.run(fit, load)
"""
# Answers as `frosthead predict - --format jsonl` does, as far as it is told to.
PREDICT = """
import json, sys
for count, line in enumerate(sys.stdin):
    if count == int(sys.argv[1]):
        sys.exit(3)
    print(json.dumps({"mood_predicted": json.loads(line)["text"].upper()}), flush=True)
"""


class Labelling(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def save(self, name, content):
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def test_a_peer_learns_from_labelled_rows_and_answers(self):
        options = json.dumps({"folder": str(self.folder / "kept here"), "tasks": ["mood"]})
        command = [sys.executable, "-c", PEER, Path(main.__file__).parents[1] / "peers", options]
        train, valid = (
            self.save("train.csv", 'text,mood\n"a, b",good\nc,\nd,bad\n'),
            self.save("valid.csv", "text,mood\ne,good\n"),
        )
        fitted = subprocess.run([*command, "fit", train, valid], check=True, capture_output=True, text=True)
        self.assertEqual(json.loads(fitted.stdout), {"chosen": "[0, 2] of ['a, b', 'c', 'd'], ['good']"})
        once = subprocess.run([*command, "once", "so "], check=True, capture_output=True, text=True)
        self.assertEqual(json.loads(once.stdout), {"mood": ["so bad"]})
        worker = turns.Worker([*command, "serve"])
        self.assertEqual(worker.ask("texts", str(self.save("texts.json", '["x ", "y "]'))), {"texts": 2})
        self.assertEqual(worker.ask("labels", {"end": "!"}), {"labels": {"mood": ["x bad!", "y bad!"]}})
        self.assertGreater(worker.ask("pass", {})["seconds"], 0)
        self.assertEqual(len(worker.ask("singles", 1)["seconds"]), 1)
        worker.stop()

    def test_our_own_program_answers_behind_pipes_more_than_these_hold(self):
        texts = [f"text {place} " + "x" * 1000 for place in range(3000)]
        predictor = frontier.Predictor(
            None, self.folder / "x.frost", ["mood"], [sys.executable, "-c", PREDICT, 6000]
        )
        self.assertEqual(
            predictor.ask("texts", str(self.save("texts.json", json.dumps(texts)))), {"texts": 3000}
        )
        self.assertEqual(predictor.ask("labels", {}), {"labels": {"mood": [text.upper() for text in texts]}})
        with self.assertRaisesRegex(Unavailable, "status 3"):
            predictor.ask("pass", {})
        predictor.stop()

    def test_rows_without_a_label_do_not_count(self):
        self.assertEqual(frontier.accuracy(["a", "b", "a", "c"], ["a", "a", "", "c"]), 2 / 3)


class Report(unittest.TestCase):
    def test_single_text_table_compares_with_our_fp32(self):
        latency = {key: turns.spread([value]) for key, value in (("p50", 2.0), ("p95", 3.0), ("p99", 4.0))}
        row = {
            "contestant": "frosthead fp32",
            "precision": "fp32",
            "cold_seconds": [0.1, 0.2],
            "latency": latency,
            "peak_rss_bytes": 1e8,
            "installed_bytes": 1.5e8,
            "sizes": {"model": 1.5e8},
        }
        peer = row | {
            "contestant": "peer",
            "cold_seconds": [3.0, 6.0],
            "latency": None,
            "peak_rss_bytes": 5e8,
            "installed_bytes": 3e9,
        }
        ours, theirs = report.tables(
            [{"job": "single text", "set": "one", "rows": [row, peer]}]
        ).splitlines()[2:]
        self.assertEqual(
            ours, "| frosthead fp32 | 2.00 / 3.00 / 4.00 | 0.150 (0.100–0.200) | 100 | 150 (model 150) |"
        )
        self.assertEqual(
            theirs, "| peer | failed | 4.50 (3.00–6.00), 30.0 × | 500, 5.0 × | 3,000, 20.0 × (model 150) |"
        )

    def test_whole_job_table_has_its_steps(self):
        row = {
            "contestant": "frosthead",
            "which": "default",
            "settings": {},
            "seconds": [10.0, 12.0],
            "steps": [[6.0, 4.0], [8.0, 4.0]],
            "accuracies": {"domain": 0.9},
            "peak_rss_bytes": [1e8, 2e8],
        }
        peer = row | {"contestant": "peer", "seconds": [20.0, 36.0]}
        lines = report.tables(
            [{"job": "whole", "set": "all labels", "amount": 100, "unit": "s", "rows": [row, peer]}]
        ).splitlines()
        self.assertEqual(lines[2], "| frosthead | 11.0 (10.0–12.0) | 7.00 + 4.00 | domain 0.900 | 200 |  |")
        self.assertIn("2.50 × (2.00–3.00)", lines[3])

    def test_extraction_table(self):
        line = next(line for line in report.tables([extraction()]).splitlines() if line.startswith("| peer"))
        self.assertIn("24.0 (7.50–40.0)", line)
        self.assertIn("40.0 (24.0–60.0): batch size 8", line)
        self.assertIn("0.99999 / 0.98765", line)
        self.assertIn("3.00 × (2.50–4.00) / 3.00 × (2.50–4.00)", line)

    def test_no_ratio_when_outputs_differ(self):
        line = next(
            line for line in report.tables([extraction(same=False)]).splitlines() if line.startswith("| peer")
        )
        self.assertIn("outputs differ", line)
        self.assertNotIn("×", line)

    def test_frontier_table_and_points(self):
        row = {
            "contestant": "the usual recipe",
            "accuracies": {"domain": 0.918, "sentiment": 0.696},
            "chosen": "",
            "settings": {"batch_size": 8},
            "bytes": 9.16e7,
            "seconds": [10.0, 20.0, 40.0],
            "latency": turns.spread([12.0]),
            "peak_rss_bytes": 1e9,
        }
        words = row | {
            "contestant": "TF-IDF",
            "accuracies": {"domain": 0.9},
            "chosen": "words",
            "settings": {},
            "bytes": 2.5e7,
            "seconds": [1.0, 4.0, 4.0],
        }
        ours = row | {
            "contestant": "frosthead int8, depth 3",
            "settings": {},
            "bytes": 1.85e7,
            "seconds": [1.0, 1.0, 1.0],
        }
        result = {
            "job": "frontier",
            "set": "demo",
            "amount": 2000,
            "unit": "texts/s",
            "seed": 13,
            "test_rows": {"domain": 4722, "sentiment": 4700},
            "rows": [row, words, ours],
        }
        head, _, *lines = report.tables([result]).splitlines()[:5]
        self.assertIn("test rows: domain 4,722, sentiment 4,700; seed 13", head)
        self.assertEqual(
            lines[0],
            "| the usual recipe (batch size 8) | domain 0.918 sentiment 0.696 | 91.6 | 100 (50.0–200) | 12.0 | 1,000 |  |",
        )
        self.assertEqual(
            lines[1],
            "| TF-IDF (words) | domain 0.900 | 25.0 | 500 (500–2,000) | 12.0 | 1,000 | 10.00 × (5.00–10.00) |",
        )
        self.assertIn("20.00 × (10.00–40.00)", lines[2])
        points = report.frontier_points(result, "a processor")
        self.assertEqual(
            [(point["name"], point["task"]) for point in points],
            [("the usual recipe", "domain"), ("the usual recipe", "sentiment"), ("TF-IDF", "domain")],
        )
        self.assertEqual(
            points[1],
            {
                "name": "the usual recipe",
                "task": "sentiment",
                "accuracy": 0.696,
                "test_rows": 4700,
                "bytes": 9.16e7,
                "texts_per_second": 100.0,
                "ms_per_text": 12.0,
                "processor": "a processor",
            },
        )

    def test_growth_is_fitted_on_its_points(self):
        points = [{"x": x, "seconds": 0.5 + 0.25 * x} for x in (1, 10, 1000)]
        result = {"job": "growth", "set": "extraction", "x": "tokens", "points": points}
        self.assertIn("0.5 s + 0.25 s · tokens, off by 0% at most", report.tables([result]))

    def test_what_was_measured_earlier_is_dated_in_the_summary(self):
        first, second = (extraction() | {"measured": f"2026-01-0{day}T10:00:00"} for day in (1, 2))
        for row in first["rows"] + second["rows"]:
            row["cosine"] = {"mean": 1.0, "least": 0.99}
        lines = summary.summary([first, second]).splitlines()[2:]
        self.assertEqual([line.count("(01-01)") for line in lines], [1, 0])

    def test_each_table_has_a_file_of_points(self):
        run = {
            "machine": {"processor": "one"},
            "results": [{"job": "frontier", "set": name, "rows": []} for name in ("demo", "clinc150")],
        }
        files = main.points(run)
        self.assertEqual(files, [("frontier.json", "[]\n"), ("frontier-clinc150.json", "[]\n")])

    def test_plot_is_xml_with_a_bar_for_each_row(self):
        import xml.etree.ElementTree as xml

        plot = report.plot([extraction()])
        bars = [
            bar
            for bar in xml.fromstring(plot).iter("{http://www.w3.org/2000/svg}rect")
            if bar.get("height") == "14"
        ]
        # 60, 120, 24 and 40 texts/s; the fastest round of all, 240, takes the whole width.
        self.assertEqual([float(bar.get("width")) for bar in bars], [105.0, 210.0, 42.0, 70.0])

    def test_a_page_keeps_what_is_around_the_tables(self):
        page = f"before\n{report.START}\nold\n{report.END}\nafter\n"
        self.assertEqual(
            report.with_table(page, "new"), f"before\n{report.START}\nnew\n{report.END}\nafter\n"
        )
        with self.assertRaises(ValueError):
            report.with_table("no markers", "new")

    def test_a_wide_table_is_several_with_the_same_rows(self):
        head, cells = (
            [f"column {place}" for place in range(6)],
            [f"{place} " + "x" * 30 for place in range(6)],
        )
        text = f"before\n\n{report.table(head, [cells, cells])}\n\nafter"
        before, *tables, after = report.narrow(text).split("\n\n")
        self.assertEqual((before, after), ("before", "after"))
        columns = []
        for table in tables:
            lines = [line.strip("| ").split(" | ") for line in table.split("\n")]
            self.assertEqual((len(lines), lines[0][0], lines[2][0]), (4, head[0], cells[0]))
            self.assertTrue(all(len(line) <= report.WIDTH for line in table.split("\n")), table)
            columns += lines[0][1:]
        self.assertEqual(columns, head[1:])
        self.assertEqual(report.narrow(report.table(["a"], [["b"]])), report.table(["a"], [["b"]]))

    def test_the_manual_has_a_place_for_the_tables(self):
        page = (Path(__file__).parents[2] / "docs/performance.md").read_text(encoding="utf-8")
        self.assertIn("new table", report.with_table(page, "new table"))

    def test_what_was_measured_before_stands_with_its_own_date(self):
        with tempfile.TemporaryDirectory() as runs:
            described = lambda *instructions: {
                "processor": "One",
                "instructions": list(instructions),
                "cores_allowed": 2,
            }

            def save(name, text, machine):
                folder = Path(runs) / name
                folder.mkdir()
                run = {"machine": machine, "results": [text], "problems": {}}
                (folder / "results.json").write_text(json.dumps(run))

            save("2026-01-02-one-2-cores", "older", described("avx2"))
            save("2026-01-03-one-2-cores", "newer", described("avx2"))
            save("2026-01-04-one-2-cores", "of another machine of that name", described("amx", "avx2"))
            found = lambda name, *machine: main.earlier_run(Path(runs) / name, described(*machine))["results"]
            self.assertEqual(found("2026-01-05-one-2-cores", "avx2"), ["newer"])
            self.assertEqual(found("2026-01-02-one-2-cores", "avx2"), ["older"])
            self.assertEqual(found("2026-01-04-one-2-cores", "avx2"), ["newer"])
            self.assertEqual(found("2026-01-05-one-2-cores"), [])
            today = f"{datetime.date.today().isoformat()}-one-2-cores"
            folder = lambda *machine: main.run_folder(Path(runs), described(*machine)).name
            self.assertEqual(folder("avx2"), today)
            save(today, "today's", described("amx", "avx2"))
            self.assertEqual([folder("amx", "avx2"), folder("avx2")], [today, f"{today}-2"])
        result = lambda name, date: {
            "command": "bench.sh",
            "measured": f"{date}T01:00:00",
            "commit": "abc",
            "job": name,
            "set": "all",
        }
        lines = report.made_by(
            [result("heads", "2026-01-01"), result("single", "2026-01-02"), result("whole", "2026-01-02")]
        )
        self.assertEqual(
            lines,
            [
                "* `bench.sh`, 2026-01-01, commit abc (heads: all)",
                "* `bench.sh`, 2026-01-02, commit abc (single: all; whole: all)",
            ],
        )


class Summary(unittest.TestCase):
    def rows(self, results):
        return [line[2:-2].split(" | ") for line in summary.summary(results).splitlines()[2:]]

    def test_the_fastest_setting_of_those_that_are_exact_enough_stands_beside_ours(self):
        result = extraction()
        for row in result["rows"]:
            row["cosine"] = {"mean": 1.0, "least": 1.0}
        coded = [
            extraction_row("frosthead int8", "default", [0.25, 0.5, 1.0]),
            extraction_row("peer int8", "best", [1.0, 1.5, 2.5]),
            extraction_row("plain loop, our batches", "best", [0.1, 0.1, 0.1]),
        ]
        result["rows"] += coded
        self.assertEqual(
            self.rows([result]),
            [
                [
                    "short texts, as exact as fp32: texts/s",
                    "peer & co (8 at once)",
                    "40.0 / 120",
                    "3.00 × (2.50–4.00)",
                ],
                [
                    "short texts, cosines ≥ .98: texts/s",
                    "peer int8 (8 at once)",
                    "80.0 / 240",
                    "3.00 × (2.50–4.00)",
                ],
            ],
        )
        coded[1]["cosine"]["least"] = 0.97
        self.assertEqual(self.rows([result])[1][1], "peer & co (8 at once)")

    def test_labels_are_compared_with_those_that_are_as_accurate_as_the_usual_recipe(self):
        row = lambda name, accuracy, seconds: {
            "contestant": name,
            "accuracies": {"domain": 0.9, "mood": accuracy},
            "settings": {},
            "seconds": seconds,
        }
        rows = [
            row("the usual recipe", 0.7, [8.0, 8.0]),
            row("sentence-transformers, quick", 0.696, [4.0, 4.0]),
            row("sentence-transformers, quicker", 0.694, [3.5, 3.5]),
            row("TF-IDF", 0.69, [0.1, 0.1]),
            row("frosthead fp32", 0.72, [3.0, 3.0]),
            row("frosthead int8, depth 3", 0.7, [1.0, 2.0]),
            row("frosthead int8, depth 0", 0.6, [0.1, 0.1]),
        ]
        rows[3]["accuracies"] = {"mood": 0.8}
        found = self.rows([{"job": "frontier", "set": "demo", "amount": 80, "rows": rows}])
        self.assertEqual(
            found, [["labels of demo: texts/s", "quick", "20.0 / 53.3", "3.00 × (2.00–4.00), int8, depth 3"]]
        )

    def test_a_whole_job_says_how_deep_it_went_and_what_was_lost(self):
        row = lambda name, accuracies, seconds: {
            "contestant": name,
            "accuracies": dict(zip(("domain", "mood"), accuracies)),
            "settings": {},
            "seconds": seconds,
        }
        rows = [
            row("frosthead", [0.95, 0.75], [6.0]),
            row("frosthead, depth 3", [0.94, 0.74], [2.0]),
            row("sentence-transformers, torch + scikit-learn", [0.9, 0.7], [8.0]),
            row("sentence-transformers, OpenVINO + scikit-learn", [0.9, 0.7], [5.0]),
        ]
        result = {"job": "whole", "set": "all labels, two tasks", "rows": rows}
        name = "whole job, all labels"
        self.assertEqual(
            self.rows([result]),
            [[f"{name}: s", "OpenVINO + scikit-learn", "5.00 / 2.00", "2.50 × (2.50–2.50), depth 3"]],
        )
        rows[1]["accuracies"]["mood"] = 0.69
        self.assertEqual(self.rows([result])[0][2:], ["5.00 / 6.00", "0.83 × (0.83–0.83)"])
        rows[0]["accuracies"]["mood"] = 0.65
        self.assertEqual(
            self.rows([result]),
            [
                [
                    f"{name} (−1.0): s",
                    "torch + scikit-learn",
                    "8.00 / 2.00",
                    "4.00 × (4.00–4.00)",
                ]
            ],
        )

    def test_one_text_is_compared_figure_by_figure(self):
        row = lambda name, latency, cold, memory, size: {
            "contestant": name,
            "latency": {"p50": {"median": latency}} if latency else None,
            "cold_seconds": [cold],
            "peak_rss_bytes": memory * 1e6,
            "installed_bytes": size * 1e6,
        }
        rows = [
            row("frosthead fp32", 2.0, 0.1, 100, 120),
            row("frosthead int8", 1.0, 0.1, 60, 60),
            row("a", 4.0, 0.5, 300, 90),
            row("b", None, 0.3, 200, 900),
            row("c int8", 0.1, 0.1, 10, 10),
        ]
        self.assertEqual(
            [cells[1:] for cells in self.rows([{"job": "single text", "set": "one", "rows": rows}])],
            [
                ["a", "4.00 / 2.00", "2.00 ×"],
                ["b", "0.30 / 0.10", "3.00 ×"],
                ["b", "200 / 100", "2.00 ×"],
                ["a", "90.0 / 120", "0.75 ×"],
            ],
        )

    def test_heads_and_layers_of_a_worse_loss_do_not_count(self):
        row = lambda name, seconds, loss: {
            "contestant": name,
            "settings": {"dtype": "float32"},
            "seconds": seconds,
            "loss": loss,
        }
        rows = [row("frosthead", [1.0], 100.0), row("near", [2.0], 100.05), row("quick", [0.5], 101.0)]
        self.assertEqual(
            self.rows([{"job": "heads", "set": "demo: domain", "rows": rows}]),
            [["heads, domain: s", "near float32", "2.00 / 1.00", "2.00 × (2.00–2.00)"]],
        )
        self.assertEqual(
            self.rows([{"job": "layers", "set": "top 2, cached", "rows": rows[:2]}]),
            [["an epoch of top 2: s", "near", "2.00 / 1.00", "2.00 × (2.00–2.00)"]],
        )


class Contestants(unittest.TestCase):
    def test_what_a_processor_does_not_have_is_not_measured(self):
        self.assertEqual(contestants.bf16(["avx512_bf16", "fma"]), {"dtype": "bfloat16"})
        with self.assertRaises(Unavailable):
            contestants.bf16(["avx512_vnni", "fma"])


class Texts(unittest.TestCase):
    def test_long_texts_are_of_one_source(self):
        rows = [{"domain": source, "text": f"{source}{place}"} for source in "ab" for place in range(20)]
        self.assertEqual(
            [material.spread_over(list(range(10)), count) for count in (20, 5, 4, 1)],
            [list(range(10)), [0, 2, 4, 6, 8], [0, 3, 6, 9], [0]],
        )
        self.assertEqual(
            material.joined(rows, 10),
            [" ".join(f"{source}{place}" for place in range(16)) for source in "ab"],
        )


if __name__ == "__main__":
    unittest.main()
