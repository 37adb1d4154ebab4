#!/usr/bin/python3
"""Prints "passed failed" of a JUnit file that ctest wrote. A test that could not run has failed."""
import sys
import xml.etree.ElementTree as tree


def count(path):
    passed = failed = 0
    for case in tree.parse(path).getroot().iter("testcase"):
        status = case.get("status")
        skipped = case.find("skipped")
        if status == "run":
            passed += 1
        elif status == "disabled":
            continue
        elif skipped is not None and "SKIP_" in (skipped.get("message") or ""):
            print(f"skipped: {case.get('name')}", file=sys.stderr)
        else:
            failed += 1
    return passed, failed


if __name__ == "__main__":
    try:
        print(*count(sys.argv[1]))
    except (OSError, tree.ParseError):
        print(0, 1)
