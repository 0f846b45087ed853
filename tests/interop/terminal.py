"""Runs a program on a pseudo-terminal and reads what it shows, for tests. Waits for output, not for time."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

LIMIT = 60  # seconds until a missing output is a failure, on a busy machine
SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


checks = 0


def expect(what, expected, actual):
    global checks
    checks += 1
    if expected != actual:
        raise AssertionError("%s: expected %r, not %r" % (what, expected, actual))


def passed():
    """The number of expectations so far, all of which were met."""
    return checks


class Screen:
    """The visible lines: knows the sequences that cli::screen and cli::progress_line use."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines, self.row, self.column = [""], 0, 0

    def put(self, text):
        while text:
            match = SEQUENCE.match(text)
            if match:
                self.control(match.group(1), match.group(2))
                text = text[match.end():]
            elif text[0] == "\x1b":
                return text  # an incomplete sequence
            else:
                self.character(text[0])
                text = text[1:]
        return ""

    def character(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.move(self.row + 1)
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
            self.column += 1

    def control(self, parameters, final):
        count = int(parameters) if parameters.isdigit() else 1
        if final == "H":
            self.row, self.column = 0, 0
        elif final == "A":
            self.row = max(self.row - count, 0)
        elif final == "K":
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif final == "J":
            self.lines[self.row] = self.lines[self.row][:self.column]
            del self.lines[self.row + 1:]

    def move(self, row):
        self.row = row
        while len(self.lines) <= row:
            self.lines.append("")


class Terminal:
    def __init__(self, command, columns, rows):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        self.screen, self.rest, self.all, self.wait_status = Screen(columns, rows), "", "", None

    def text(self):
        return [line.rstrip() for line in self.screen.lines]

    def read(self, limit):
        """Reads output once. Returns False if the program has closed the terminal."""
        if not select.select([self.descriptor], [], [], limit)[0]:
            raise TimeoutError("\n".join(["no output; the screen shows:"] + self.text()))
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False
        text = data.decode("utf-8", "replace")
        self.all += text
        self.rest = self.screen.put(self.rest + text)
        return bool(data)

    def wait_for(self, what, test):
        """Reads until test(lines) is true. Returns the lines."""
        end = time.monotonic() + LIMIT
        while not test(self.text()):
            if time.monotonic() > end or not self.read(max(end - time.monotonic(), 0.01)):
                raise AssertionError("\n".join(["not shown: " + what + "; the screen shows:"] + self.text()))
        return self.text()

    def press(self, keys):
        os.write(self.descriptor, keys.encode())

    def resize(self, columns, rows):
        self.screen = Screen(columns, rows)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def status(self):
        """Reads until the program ends. Returns its exit status."""
        while self.wait_status is None:
            if not self.read(LIMIT):
                self.wait_status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(self.wait_status)

    def kill(self):
        if self.wait_status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
