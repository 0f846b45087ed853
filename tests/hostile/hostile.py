#!/usr/bin/env python3
"""Tests xenpv-disk with hostile and broken clients, in the simulator.

Usage: hostile.py XENPV_SIM XENPV_DISK [--seed N] CASE...
       hostile.py --list | --check-registered CMAKELISTS

Each case starts its own host and server. Prints "ok CASE (SECONDS): detail", or "FAILED CASE" with the
reason and the end of the server's log. Exit status: 0 if all cases passed, 1 if one failed, 77 if one
was skipped. --seed changes the random streams; a failure prints the seed. --check-registered compares
the cases with the list CASES in a CMakeLists.txt. Uses only loopback, Unix sockets, and addresses in
network namespaces of its own. Needs only Python, and for some cases the programs that they name.
"""

import argparse
import os
import re
import sys
import time

import cut_links  # noqa: F401 (each module registers its cases)
import fairness  # noqa: F401
import floods  # noqa: F401
import malformed  # noqa: F401
import mutes  # noqa: F401
import process  # noqa: F401
import seats  # noqa: F401
import slow  # noqa: F401
import streams  # noqa: F401
from host import Setup, end_on_signals, set_limits
from testing import CASES, Failed, Noisy, Skipped, is_sanitized


def run_once(name, options):
    with Setup(os.path.abspath(options.simulator), os.path.abspath(options.disk), options.seed) as setup:
        try:
            detail = CASES[name](setup)
            server = setup.server
            if server and server.process.poll() is None:
                limit = server.memory_limit()
                server.terminate()
                if not is_sanitized(options.disk):
                    server.expect_memory(limit)
            return detail
        except Skipped:
            raise
        except Exception as problem:
            log = setup.server.log_tail() if setup.server else ""
            kind = Noisy if isinstance(problem, Noisy) else Failed
            text = str(problem) if isinstance(problem, Failed) else f"{type(problem).__name__}: {problem}"
            if setup.server and setup.server.has_crashed():
                status = setup.server.process.returncode
                kind, text = Failed, f"the server crashed, with status {status}; {text}"
            raise kind(f"{text}\nthe end of the server's log:\n{log}") from problem


def run_case(name, options):
    """Returns the exit status."""
    if CASES[name].timed and is_sanitized(options.disk):
        print(f"skipped: {name} is meaningless for a build with sanitizers")
        return 77
    attempts = CASES[name].attempts
    for attempt in range(1, attempts + 1):
        began = time.monotonic()
        try:
            detail = run_once(name, options)
            print(f"ok {name} ({time.monotonic() - began:.1f} s): {detail or 'passed'}", flush=True)
            return 0
        except Skipped as reason:
            print(f"skipped: {name}: {reason}", flush=True)
            return 77
        except Noisy as problem:
            print(f"FAILED {name}, attempt {attempt} of {attempts}: {problem}", flush=True)
        except Failed as problem:
            print(f"FAILED {name} ({time.monotonic() - began:.1f} s): {problem}", flush=True)
            return 1
    return 1


def check_registered(path):
    with open(path, encoding="utf-8") as file:
        listed = re.search(r"set\(CASES([^)]*)\)", file.read()).group(1).split()
    missing = sorted(set(CASES) ^ set(listed))
    if missing:
        print(f"only in one of {os.path.basename(path)} and the Python files: {', '.join(missing)}")
    return 1 if missing else 0


def main():
    if len(sys.argv) == 2 and sys.argv[1] == "--list":
        print("\n".join(CASES))
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "--check-registered":
        return check_registered(sys.argv[2])
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("simulator")
    parser.add_argument("disk")
    parser.add_argument("cases", nargs="+", choices=list(CASES), metavar="CASE")
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    set_limits()
    end_on_signals()
    statuses = [run_case(name, options) for name in options.cases]
    return max(statuses, key=lambda status: (status == 1, status))


if __name__ == "__main__":
    sys.exit(main())
