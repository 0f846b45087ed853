#!/usr/bin/env python3
"""Extracts results from fio's JSON output, and prints them as a table.

fio_figures.py LOAD SERVER < fio.json   print one line: load, server, requests per second, bytes per
                                        second, p50 in ns
fio_figures.py --table < lines          print medians for each load and server, and ratios of the
                                        first server to the others
"""

import json
import statistics
import sys


def print_figures(load, server):
    # The I/O engine may print messages before the JSON.
    text = sys.stdin.read()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    side = max(job["read"], job["write"], key=lambda direction: direction["total_ios"])
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
        samples.setdefault((load, server), []).append([float(figure) for figure in figures])

    def median(load, server, figure):
        return statistics.median(sample[figure] for sample in samples[load, server])

    first, *others = servers
    print(f"{'LOAD':<16}" + "".join(f"{server:>15}" for server in servers)
          + "".join(f"{'/' + server:>15}" for server in others))
    for load in loads:
        # Small requests: requests per second; large requests: bytes per second; depth 1: latency.
        single, small = load.endswith("-1"), "4k" in load
        if single:
            cells = [f"{median(load, server, 2) / 1e3:.1f} us" for server in servers]
        elif small:
            cells = [f"{median(load, server, 0):.0f}" for server in servers]
        else:
            cells = [f"{median(load, server, 1) / 1e6:.0f} MB/s" for server in servers]
        figure = 2 if single else 0
        ratios = [median(load, first, figure) / median(load, other, figure) for other in others]
        print(f"{load:<16}" + "".join(f"{cell:>15}" for cell in cells)
              + "".join(f"{ratio:>14.2f}x" for ratio in ratios))
    print("Requests per second, bytes per second, or at depth 1 the median latency, followed by the "
          f"ratios\nof {first} to each other server (for latencies, lower is better).")


if sys.argv[1:] == ["--table"]:
    print_table()
elif len(sys.argv) == 3:
    print_figures(*sys.argv[1:])
else:
    sys.exit(__doc__)
