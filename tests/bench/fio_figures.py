#!/usr/bin/env python3
"""Figures out of fio's JSON, and a table of many of them.

fio_figures.py LOAD SERVER < fio.json   one line: load, server, requests a second, bytes a second, p50 in ns
fio_figures.py --table < lines          medians for each load and server, and ratios of the first server to the others
"""

import json
import statistics
import sys


def print_figures(load, server):
    # The engine says a few words of its own first.
    text = sys.stdin.read()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    side = max(job["read"], job["write"], key=lambda each: each["total_ios"])
    p50 = side["clat_ns"].get("percentile", {}).get("50.000000", 0)
    print(load, server, side["iops"], side["bw_bytes"], p50)


def print_table():
    samples, loads, servers = {}, [], []
    for line in sys.stdin:
        load, server, *figures = line.split()
        if load == "warm-up":
            continue
        if load not in loads:
            loads.append(load)
        if server not in servers:
            servers.append(server)
        samples.setdefault((load, server), []).append([float(each) for each in figures])

    def median(load, server, figure):
        return statistics.median(each[figure] for each in samples[load, server])

    first, *others = servers
    print(f"{'LOAD':<16}" + "".join(f"{each:>15}" for each in servers)
          + "".join(f"{'/' + each:>15}" for each in others))
    for load in loads:
        # Small requests are counted, large ones weighed; of one at a time, the latency is shown.
        single, small = load.endswith("-1"), "4k" in load
        if single:
            cells = [f"{median(load, each, 2) / 1e3:.1f} us" for each in servers]
        elif small:
            cells = [f"{median(load, each, 0):.0f}" for each in servers]
        else:
            cells = [f"{median(load, each, 1) / 1e6:.0f} MB/s" for each in servers]
        figure = 2 if single else 0
        ratios = [median(load, first, figure) / median(load, each, figure) for each in others]
        print(f"{load:<16}" + "".join(f"{each:>15}" for each in cells)
              + "".join(f"{each:>14.2f}x" for each in ratios))
    print("Requests a second, bytes a second, or for one request at a time the median latency; then "
          f"{first} as a multiple\nof each other (for latencies, less is better).")


if sys.argv[1:] == ["--table"]:
    print_table()
elif len(sys.argv) == 3:
    print_figures(*sys.argv[1:])
else:
    sys.exit(__doc__)
