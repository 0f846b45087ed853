#!/usr/bin/env python3
"""latency_live.py XENPV_TIMER XENPV_IPI XENPV_DOCTOR: checks what these programs show during a measurement."""

import os
import re
import sys

from terminal import Terminal, expect, passed

INTERRUPT = "\x03"
cpu = str(min(os.sched_getaffinity(0)))


def run(command, columns, rows, use):
    terminal = Terminal(command, columns, rows)
    try:
        use(terminal)
    finally:
        terminal.kill()


def samples(lines):
    """The number of samples in the first CPU's line; 0 if there is none."""
    for line in lines:
        words = line.split()
        if len(words) > 6 and words[0] == cpu and words[1].isdigit() and words[2].isdigit():
            return int(words[1])
    return 0


def check_timer(terminal):
    shown = terminal.wait_for("figures", lambda lines: samples(lines) > 10)
    expect("the remaining time", True, bool(re.match(r"measuring, (\d+ s|[01]:[0-5]\d:[0-5]\d) left; Ctrl-C ends early$", shown[0])))
    expect("the columns", ["CPU", "SAMPLES", "LOST", "MIN", "LAST", "MEAN", "MAX"], shown[1].split())
    before = samples(shown)
    terminal.wait_for("later figures", lambda lines: samples(lines) > before)
    terminal.press(INTERRUPT)
    terminal.status()
    shown = [line for line in terminal.text() if line]
    expect("the live view is erased", [], [line for line in shown if "measuring," in line or "SAMPLES" in line])
    expect("the result replaces it", "^C" not in shown[0] and shown[0].startswith("late after"), True)
    expect("it ended early", True, "the measurement ended early" in shown)


def check_narrow_timer(terminal):
    shown = terminal.wait_for("figures", lambda lines: len(lines) == 3)
    expect("no line wraps", True, max(map(len, shown)) < 40)
    terminal.press(INTERRUPT)
    terminal.status()


def check_ipi(terminal):
    pattern = r"membarrier: CPU %s to CPU %s \(1 of 1\): \d+ %%; Ctrl-C ends early$" % (cpu, cpu)
    terminal.wait_for("the progress of a pair", lambda lines: any(re.match(pattern, line) for line in lines))
    terminal.press(INTERRUPT)
    terminal.status()
    expect("it ended early", True, "the measurement ended early" in terminal.text())


def check_doctor(terminal):
    terminal.wait_for("the round and the time", lambda lines: any(
        re.match(r"timers: round [1-5] of 5, \d+ s left$", line) for line in lines))
    terminal.status()
    expect("the progress is erased", [], [line for line in terminal.text() if "round" in line and " left" in line])


if __name__ == "__main__":
    timer, ipi, doctor = sys.argv[1:]
    run([timer, "--cpus", cpu, "--duration", "1h"], 120, 24, check_timer)
    run([timer, "--cpus", cpu, "--duration", "0.5h", "--method", "spin"], 40, 24, check_narrow_timer)
    run([ipi, "--method", "membarrier", "--from", cpu, "--to", cpu, "--count", "100000000"], 120, 24, check_ipi)
    run([doctor, "--measure", "1.5s"], 120, 50, check_doctor)
    print("%d checks passed" % passed())
