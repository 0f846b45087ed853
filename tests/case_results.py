#!/usr/bin/env python3
"""Reads the JUnit files of ctest: counts the cases, or prints what the failed ones wrote.

usage: case_results.py count FILE [AGAIN]    prints "PASSED FAILED SKIPPED RECOVERED"
       case_results.py recovered FILE AGAIN  prints the names of the recovered cases
       case_results.py failed FILE [AGAIN]   prints the names and the last output of the failed cases

AGAIN is the result of running the failed cases of FILE a second time, alone. A case that passes then
is recovered: it counts as passed, unless a sanitizer had reported an error in the first run.
"""

import os
import sys
import xml.etree.ElementTree as tree

SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                     "ERROR: libFuzzer", ": runtime error: ")


def read_cases(path):
    """Returns the cases of a file by name, as (verdict, output)."""
    cases = {}
    for case in tree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.get("status") == "fail":
            verdict = "failed"
        elif case.get("status") == "run":
            verdict = "passed"
        else:
            verdict = "skipped"
        cases[case.get("name")] = (verdict, case.findtext("system-out") or "")
    return cases


def judge(cases, again):
    """Returns the cases with the verdict "recovered" where the second run allows it."""
    judged = {}
    for name, (verdict, output) in cases.items():
        reported = any(report in output for report in SANITIZER_REPORTS)
        if verdict == "failed" and not reported and again.get(name, ("",))[0] == "passed":
            verdict = "recovered"
        judged[name] = (verdict, output)
    return judged


def print_failed(failed):
    lines = max(4, min(60, 200 // max(1, len(failed))))
    for name, output in failed:
        print("-- " + name, *output.splitlines()[-lines:], sep="\n")


def main():
    command, *paths = sys.argv[1:]
    cases, again = [read_cases(path) if os.path.exists(path) else {} for path in (paths + [""])[:2]]
    judged = judge(cases, again)

    def of(*verdicts):
        return [(name, output) for name, (verdict, output) in judged.items() if verdict in verdicts]

    if command == "count":
        print(len(of("passed", "recovered")), len(of("failed")), len(of("skipped")), len(of("recovered")))
    elif command == "recovered":
        print(*(name for name, _ in of("recovered")), sep="\n")
    elif command == "failed":
        print_failed(of("failed"))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
