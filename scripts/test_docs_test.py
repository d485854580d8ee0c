"""How documents are compared with what commands print, without any command of frosthead."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import docs_test
from docs_test import Block, Failure, same, same_line


class Lines(unittest.TestCase):
    def test_times_and_speeds_are_any_number(self):
        self.assertTrue(same_line("fitted in 1.4 s, 511 rows/s", "fitted in 1 min 02 s, 90 rows/s"))
        self.assertFalse(same_line("fitted in 1.4 s", "fitted in no time"))

    def test_sizes_are_within_a_fifth(self):
        self.assertTrue(same_line("written (90.8 MB)", "written (88.1 MB)"))
        self.assertFalse(same_line("written (90.8 MB)", "written (23.7 MB)"))

    def test_numbers_with_a_point_are_close_and_whole_ones_equal(self):
        self.assertTrue(same_line("domain  4,722   0.918 ± 0.004", "domain 4,722 0.921 ± 0.004"))
        self.assertFalse(same_line("domain 4,722 0.918", "domain 4,722 0.718"))
        self.assertFalse(same_line("domain 4,722 0.918", "domain 4,721 0.918"))
        self.assertTrue(same_line("gradient 1.42e0", "gradient 9.99e-1"))

    def test_words_are_compared(self):
        self.assertFalse(same_line("2 tasks: domain", "2 tasks: topic"))
        self.assertFalse(same_line("written", "written, too"))

    def test_a_gap_is_any_text_and_alone_any_lines(self):
        self.assertTrue(same_line("hash 49a7… in x", "hash 49a725fc in x"))
        self.assertTrue(same(["…", "b", "…"], ["a", "a", "b"]))
        self.assertTrue(same(["a", "…"], ["a"]))
        self.assertFalse(same(["…", "b"], ["b", "c"]))
        self.assertFalse(same([], ["a"]))
        self.assertFalse(same(["a"], []))


class Pages(unittest.TestCase):
    def page(self, folder, text):
        path = Path(folder) / "page.md"
        path.write_text(text, encoding="utf-8")
        return path

    def test_blocks_and_their_commands(self):
        with tempfile.TemporaryDirectory() as folder:
            page = self.page(
                folder,
                "```console\n$ one \\\n  more\n1\n\n$ two\n```\n```sh\nthree\n```\n```console recorded=long\n$ four\n```\n```toml\n```\n",
            )
            first, shown, long = docs_test.blocks(page)
        self.assertEqual(first.steps(), [("one \\\n  more", ["1"]), ("two", [])])
        self.assertEqual((shown.kind, long.recorded, long.steps()), ("sh", "long", [("four", [])]))

    def test_a_changed_output_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            shell = docs_test.Shell(Path("/bin/true"), Path(folder) / "work")
            block = lambda output: Block(
                docs_test.ROOT / "README.md", 1, "console", None, ["$ echo 0.918 of 4,722 rows", output]
            )
            docs_test.check_run(block("0.92 of 4,722 rows"), shell)
            for wrong in ("0.918 of 4,723 rows", "0.98 of 4,722 rows", "0.918 of 4,722 texts", ""):
                with self.assertRaises(Failure):
                    docs_test.check_run(block(wrong), shell)

    def test_options_must_exist(self):
        known = docs_test.Options("frosthead")
        known.known[("train",)] = {"--out", "-v"}
        block = lambda text: Block(docs_test.ROOT / "README.md", 1, "sh", None, [text])
        known.check(block("cat x | frosthead train - --out y -v   # --gone"))
        with self.assertRaises(Failure):
            known.check(block("frosthead train x --gone 3"))

    def test_links_lead_to_files_and_headings(self):
        with tempfile.TemporaryDirectory() as folder:
            page = self.page(folder, "## One file: `x`\n")
            self.assertTrue(docs_test.leads_somewhere(page, "one-file-x"))
            self.assertFalse(docs_test.leads_somewhere(page, "two"))
            self.assertFalse(docs_test.leads_somewhere(page.parent / "gone.md", ""))


if __name__ == "__main__":
    unittest.main()
