#!/usr/bin/env python3
"""evtchn_keys.py XENPV_EVTCHN DIRECTORY: presses keys in xenpv-evtchn watch and checks what it shows."""

import itertools
import os
import sys

from terminal import Terminal, expect, passed

CHANNELS = 60
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "\x1b[A", "\x1bOB", "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[4~"


def write_counts(top, turn):
    """Channel N has N events for each turn, on CPU N % 2; the names are in the opposite order."""
    lines = ["     CPU0 CPU1"]
    for number in range(CHANNELS):
        counts = [0, 0]
        counts[number % 2] = number * turn
        flow = "xen-percpu -virq timer0" if number == 7 else "xen-dyn -event vif%02d" % (CHANNELS - number)
        lines.append("%4d: %d %d %s" % (number + 20, *counts, flow))
    with open(top + "/proc/new", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    os.rename(top + "/proc/new", top + "/proc/interrupts")


def make(top):
    os.makedirs(top + "/proc")
    os.makedirs(top + "/sys/hypervisor")
    with open(top + "/sys/hypervisor/type", "w", encoding="utf-8") as file:
        file.write("xen\n")
    write_counts(top, 1)


def channels(lines):
    """The interrupts of the shown channels, from top to bottom."""
    rows = [line.split() for line in lines]
    return [int(words[0]) for words in rows if len(words) > 2 and words[0].isdigit() and words[1] not in ("of", "events/s,")]


def footer(lines):
    return next((line for line in lines if " channels shown, " in line), "")


def press(terminal, keys, what, test):
    terminal.press(keys)
    return terminal.wait_for(what, test)


def check_keys(program, top):
    turns = itertools.count(2)

    def grow(lines):
        """Events for the next interval, whenever a picture is looked at."""
        write_counts(top, next(turns))
        return lines

    terminal = Terminal([program, "watch", "--root", top, "--interval", "0.5s"], 80, 24)
    try:
        terminal.wait_for("the first picture", lambda lines: lines[0] == "waiting for the second sample")
        terminal.wait_for("rates", lambda lines: channels(grow(lines))[:2] == [79, 78])
        shown = terminal.wait_for("the position", lambda lines: footer(lines) != "")
        expect("the number of channels", "19 of 60 channels shown, from 1, sorted by rate", footer(shown))
        expect("the last line", "sort: r rate, i IRQ, n name, k kind, c CPU; scroll: arrows, PgUp, PgDn; q quits",
               shown[-1])
        expect("a full window", (24, 19), (len(shown), len(channels(shown))))
        press(terminal, "i", "sorted by interrupt", lambda lines: channels(lines)[:2] == [20, 21])
        press(terminal, PAGE_DOWN, "the next page", lambda lines: channels(lines)[:1] == [39])
        press(terminal, DOWN, "the next line", lambda lines: channels(lines)[:1] == [40])
        press(terminal, UP + UP, "two lines up", lambda lines: channels(lines)[:1] == [38])
        shown = press(terminal, END, "the end", lambda lines: channels(lines)[-1:] == [79])
        expect("the end fills the window", list(range(61, 80)), channels(shown))
        expect("the position at the end", "19 of 60 channels shown, from 42, sorted by IRQ", footer(shown))
        press(terminal, DOWN + PAGE_DOWN + PAGE_UP, "a page above the end", lambda lines: channels(lines)[:1] == [42])
        press(terminal, "G" + UP, "one line above the end", lambda lines: channels(lines)[:1] == [60])
        press(terminal, "b", "a page up", lambda lines: channels(lines)[:1] == [41])
        press(terminal, " ", "a page down", lambda lines: channels(lines)[:1] == [60])
        press(terminal, HOME, "the start", lambda lines: channels(lines)[:1] == [20])
        press(terminal, PAGE_DOWN + "n", "another order starts at the top", lambda lines: channels(lines)[:2] == [27, 79])
        press(terminal, "k", "sorted by kind", lambda lines: "sorted by kind" in footer(lines))
        press(terminal, "c", "sorted by CPU", lambda lines: "sorted by CPU" in footer(lines) and
              all(number % 2 == 0 for number in channels(grow(lines))))
        before = terminal.text()
        press(terminal, "x\x1b[99~\x1bi", "unknown keys and an escaped one", lambda lines: "sorted by IRQ" in footer(lines))
        expect("unknown keys change nothing", "sorted by CPU", footer(before).split(", ")[-1])
        terminal.resize(200, 70)
        shown = terminal.wait_for("all channels", lambda lines: len(channels(lines)) == CHANNELS)
        expect("all are shown", "60 of 60 channels shown, sorted by IRQ", footer(shown))
        for columns in (60, 50, 40, 30):
            terminal.resize(columns, 12)
            shown = terminal.wait_for("%d columns" % columns, lambda lines: len(lines) == 12 and footer(lines))
            expect("%d columns are not exceeded" % columns, True, max(map(len, shown)) <= columns)
            expect("%d columns have rates" % columns, True, any("EVENTS/S" in line for line in shown))
        terminal.resize(80, 3)
        shown = terminal.wait_for("three lines", lambda lines: len(lines) == 3 and "shown" in lines[-1])
        terminal.press("q")
        expect("q quits", 0, terminal.status())
        expect("the terminal is restored", True, terminal.all.endswith("\x1b[?25h\x1b[?1049l"))
    finally:
        terminal.kill()


if __name__ == "__main__":
    make(sys.argv[2] + "/guest")
    check_keys(sys.argv[1], sys.argv[2] + "/guest")
    print("%d checks passed" % passed())
