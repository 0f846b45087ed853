#!/usr/bin/env python3
"""Creates and modifies directory trees for xenpv-evtchn --root, and tests programs with them.

usage: evtchn_tree.py unpack CAPTURE DIR          unpack a capture from tests/unit/channels/captures
       evtchn_tree.py make DIR ROWS CPUS          create a guest with ROWS event channels
       evtchn_tree.py grow DIR SECONDS            increase the counts regularly, as in a busy guest
       evtchn_tree.py validate SCHEMA [FILE...]   validate JSON documents, one per file or one per line
       evtchn_tree.py cpu_share DIR SECONDS COMMAND...
                                                  run COMMAND on a 200x50 terminal and print its CPU
                                                  usage in percent
"""

import fcntl
import json
import os
import pty
import random
import resource
import struct
import sys
import termios
import threading
import time


def unpack(capture, top):
    file = None
    for line in open(capture, encoding="utf-8"):
        if line.startswith("== "):
            path = top + line[3:].strip()
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(path, "w", encoding="utf-8")
        elif file:
            file.write(line)


def row_text(irq, counts, tail):
    return "%4d: %s   %s" % (irq, " ".join("%10d" % count for count in counts), tail)


def make(top, rows, cpus):
    rows, cpus = int(rows), int(cpus)
    lines = ["           " + " ".join("CPU%-7d" % cpu for cpu in range(cpus))]
    for number in range(rows):
        counts = [0] * cpus
        counts[number % cpus if number % 3 else 0] = 1000 + number
        lines.append(row_text(24 + number, counts, "xen-dyn-lateeoi    -event     vif%d-q%d-tx" % (number // 64, number % 64)))
    os.makedirs(top + "/proc", exist_ok=True)
    os.makedirs(top + "/sys/hypervisor", exist_ok=True)
    open(top + "/proc/interrupts", "w", encoding="utf-8").write("\n".join(lines) + "\n")
    open(top + "/sys/hypervisor/type", "w", encoding="utf-8").write("xen\n")


def count_up(path):
    """Increases the largest count in each row; replaces the file atomically."""
    lines = open(path, encoding="utf-8").read().split("\n")
    cpus = len(lines[0].split())
    for at, line in enumerate(lines):
        words = line.split()
        if len(words) <= cpus or not words[0][:-1].isdigit():
            continue
        counts = [int(word) for word in words[1:cpus + 1]]
        counts[counts.index(max(counts))] += random.randint(1, 200)
        lines[at] = row_text(int(words[0][:-1]), counts, "   ".join(words[cpus + 1:]))
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    os.rename(path + ".new", path)


def grow(top, seconds, pause=0.25):
    end = time.monotonic() + float(seconds)
    # The caller may remove the tree at any time.
    while time.monotonic() < end and os.path.exists(top + "/proc/interrupts"):
        try:
            count_up(top + "/proc/interrupts")
        except FileNotFoundError:
            return
        time.sleep(pause)


def validate(schema, *files):
    import jsonschema
    checker = jsonschema.Draft202012Validator(json.load(open(schema, encoding="utf-8")))
    checker.check_schema(checker.schema)
    for name in files:
        text = open(name, encoding="utf-8").read()
        try:
            documents = [json.loads(text)]
        except ValueError:
            documents = [json.loads(line) for line in text.splitlines()]
        for document in documents:
            jsonschema.validate(document, checker.schema)
            print(document["schema"])


def cpu_share(top, seconds, *command):
    """Runs the command on a terminal, presses q, and prints the command's CPU usage in percent."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        time.sleep(0.2)  # until the window size is set
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    seen = []

    def read():
        try:
            while data := os.read(terminal, 65536):
                seen.append(data)
        except OSError:
            pass  # the command has closed the terminal

    reader = threading.Thread(target=read)
    reader.start()
    start = time.monotonic()
    grow(top, seconds, 0.5)
    elapsed = time.monotonic() - start
    os.write(terminal, b"q")
    _, status = os.waitpid(pid, 0)
    reader.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status != 0 or b"EVENTS/S" not in b"".join(seen):
        sys.exit("the command failed or printed nothing: status %d" % status)
    print("%.2f" % (100 * (used.ru_utime + used.ru_stime) / elapsed))


if __name__ == "__main__":
    functions = (unpack, make, grow, validate, cpu_share)
    commands = {function.__name__: function for function in functions}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
