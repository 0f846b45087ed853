#!/usr/bin/env python3
"""memory_scan.py PID HEX...: counts how often the bytes occur in the memory of a process. Needs root."""
import sys


def regions(process):
    with open(f"/proc/{process}/maps", encoding="ascii") as maps:
        for line in maps:
            span, rights, *rest = line.split()
            if "r" in rights and rest[-1] not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                first, last = (int(number, 16) for number in span.split("-"))
                yield first, last - first


def main():
    process, *needles = sys.argv[1:]
    counts = [0] * len(needles)
    scanned = 0
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for first, size in regions(process):
            try:
                memory.seek(first)
                content = memory.read(size)
            except (OSError, ValueError):
                continue  # a mapping of a device
            scanned += len(content)
            for index, needle in enumerate(needles):
                counts[index] += content.count(bytes.fromhex(needle))
    if scanned == 0:
        sys.exit("no memory could be read")
    print(*counts)


main()
