#!/usr/bin/python3
"""The table of the negative checklist names tests that exist, each defence that is taken away is still there to be
taken away, and the page shows the table. --write brings the page up to date."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checklist  # noqa: E402


class Checklist(unittest.TestCase):
    def test_every_item_has_tests_and_a_defence(self):
        self.assertEqual([], list(checklist.problems()))

    def test_the_page_shows_it(self):
        page = checklist.read(checklist.PAGE)
        self.assertEqual(checklist.table(), checklist.between(page, "checklist"),
                         "run tests/security/test_checklist.py --write")

    def test_the_page_tells_of_no_defence_that_is_not_tried(self):
        page = checklist.between(checklist.read(checklist.PAGE), "defences")
        known = {f"| {one.item} | {one.defence} | `{one.test.split(':')[1].split('.')[-1]}` |" for one in checklist.MUTATIONS}
        for line in page.splitlines()[2:]:
            self.assertIn("|".join(line.split("|")[:4]) + "|", known, "run tests/security/without_defence --write")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        checklist.write_page("checklist", checklist.table())
    else:
        unittest.main(verbosity=2)
