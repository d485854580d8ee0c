"""What is computed from measurements, without any: medians, ratios, fits, tables, the place in README.md."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import material
import report
import turns
from environments import Unavailable


def extraction_row(contestant, which, seconds, eight_bit=False, same=True):
    return {"contestant": contestant, "which": which, "settings": {"batch_size": 8} if which == "best" else {}, "seconds": seconds,
            "eight_bit": eight_bit, "cosine": {"mean": 0.99999, "least": 0.98765}, "same": same, "command": "peer"}


def extraction(same=True):
    rows = [extraction_row("frosthead fp32", "default", [1.0, 2.0, 4.0]), extraction_row("frosthead fp32", "best", [0.5, 1.0, 2.0]),
            extraction_row("peer & co", "default", [3.0, 5.0, 16.0], same=same), extraction_row("peer & co", "best", [2.0, 3.0, 5.0], same=same)]
    return {"job": "extraction", "set": "short texts", "amount": 120, "unit": "texts/s", "reference": "peer & co", "rows": rows}


class Turns(unittest.TestCase):
    def test_ratios_are_of_the_same_round(self):
        # Of the medians it would be 5 / 2.
        self.assertEqual(turns.times_faster([1.0, 2.0, 4.0], [3.0, 5.0, 16.0]), {"median": 3.0, "least": 2.5, "most": 4.0})

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
        self.assertEqual([turns.percentile(range(1, 101), share) for share in (0.5, 0.95, 0.99)], [50, 95, 99])
        line = turns.line_fit([1, 2, 3], [5, 7, 9])
        self.assertAlmostEqual(line["slope"], 2), self.assertAlmostEqual(line["intercept"], 3), self.assertAlmostEqual(line["r_squared"], 1)
        self.assertLess(turns.line_fit([1, 2, 3], [1, 5, 2])["r_squared"], 0.1)


class Report(unittest.TestCase):
    def test_extraction_table(self):
        line = next(line for line in report.tables([extraction()]).splitlines() if line.startswith("| peer"))
        self.assertIn("24.0 (7.50–40.0)", line)
        self.assertIn("40.0 (24.0–60.0): batch size 8", line)
        self.assertIn("0.99999 / 0.98765", line)
        self.assertIn("3.00 × (2.50–4.00) / 3.00 × (2.50–4.00)", line)

    def test_no_ratio_when_outputs_differ(self):
        line = next(line for line in report.tables([extraction(same=False)]).splitlines() if line.startswith("| peer"))
        self.assertIn("outputs differ", line)
        self.assertNotIn("×", line)

    def test_plot_is_xml_with_a_bar_for_each_row(self):
        import xml.etree.ElementTree as xml

        plot = report.plot([extraction()])
        bars = [own for own in xml.fromstring(plot).iter("{http://www.w3.org/2000/svg}rect") if own.get("height") == "14"]
        # 60, 120, 24 and 40 texts/s; the fastest round of all, 240, takes the whole width.
        self.assertEqual([float(own.get("width")) for own in bars], [105.0, 210.0, 42.0, 70.0])

    def test_readme_keeps_what_is_around_the_table(self):
        readme = f"before\n{report.START}\nold\n{report.END}\nafter\n"
        self.assertEqual(report.with_table(readme, "new"), f"before\n{report.START}\nnew\n{report.END}\nafter\n")
        with self.assertRaises(ValueError):
            report.with_table("no markers", "new")


class Texts(unittest.TestCase):
    def test_long_texts_are_of_one_source(self):
        rows = [{"domain": source, "text": f"{source}{place}"} for source in "ab" for place in range(20)]
        self.assertEqual(material.joined(rows, 10), [" ".join(f"{source}{place}" for place in range(16)) for source in "ab"])


if __name__ == "__main__":
    unittest.main()
