#!/usr/bin/env python3
"""Prints instructions and function calls per request, by component, from callgrind profiles of a
short and a long run.

Usage: rooms_of_callgrind.py FEW MANY REQUESTS
REQUESTS is the difference in the number of requests. The parts that both runs have in common
(start-up, connect, close) cancel out.
"""

import re
import sys
from collections import Counter


def room_of(path):
    """Returns the component of a source file, or its library in parentheses."""
    match = re.search(r"(?:/lib|/include/xenpv)/([a-z]+)/[a-z_/]+\.[ch]pp$", path)
    if match and "boost" not in path:
        return match.group(1)
    if "/tests/bench/" in path:
        return "(the load)"
    if "/boost/" in path:
        return "(Asio)"
    if "/c++/" in path:
        return "(libstdc++)"
    if re.search(r"mem(cpy|move|set)", path):
        return "(memcpy)"
    return "(libc, vdso)"


def read_profile(name):
    """Returns exclusive instructions, and calls of functions that were not inlined, by component.
    Inlined code counts for its source file."""
    files = {}
    costs = Counter()
    calls = Counter()
    callee = None
    room = "(libc, vdso)"
    skip = False
    with open(name, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            named = re.match(r"(fl|fi|fe|cfi|cfl)=\((\d+)\)(?: (.*))?$", line.rstrip("\n"))
            if named:
                kind, number, path = named.groups()
                if path is not None:
                    files[number] = path
                if kind in ("fl", "fi", "fe"):
                    room = room_of(files[number])
                else:
                    callee = room_of(files[number])
            elif line.startswith("calls="):
                calls[callee or room] += int(line[len("calls=") :].split()[0])
                callee = None
                skip = True  # the next line is the callee's inclusive cost
            elif re.match(r"[+\-*\d]", line):
                if not skip:
                    words = line.split()
                    costs[room] += int(words[1]) if len(words) > 1 else 0
                skip = False
    return costs, calls


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    few, many, requests = read_profile(sys.argv[1]), read_profile(sys.argv[2]), int(sys.argv[3])
    costs, calls = ({room: (many[i][room] - few[i][room]) / requests for room in many[0]} for i in (0, 1))
    rooms = sorted((room for room in costs if abs(costs[room]) >= 0.5), key=lambda room: -costs[room])
    print(f"{'component':14} {'instructions':>12} {'calls':>8}")
    for room in rooms:
        print(f"{room:14} {costs[room]:12.0f} {calls[room]:8.1f}")
    print(f"{'sum':14} {sum(map(costs.get, rooms)):12.0f} {sum(map(calls.get, rooms)):8.1f}")


if __name__ == "__main__":
    main()
