#!/usr/bin/env python3
"""An NBD client that keeps writing while its server is stopped, and records the answered writes.

Usage: nbd_drain.py write (unix:PATH | tcp:HOST:PORT) EXPORT RECORD PID
       nbd_drain.py check (unix:PATH | tcp:HOST:PORT) EXPORT RECORD

`write` keeps 16 writes in flight. After some replies, it sends SIGTERM to PID and continues to
write until the server disconnects. Every reply must be complete and successful. Finally, it prints
the number of replies before and after the signal. `check` verifies that the answered writes are on
the disk.
"""

import json
import os
import select
import signal
import struct
import sys

from nbd_conformance import SIMPLE, WRITE, Connection, request

BLOCK, DEPTH, BEFORE = 16384, 16, 200


def content(number):
    return struct.pack(">Q", number) * (BLOCK // 8)


class Load:
    def __init__(self, connection):
        self.connection, self.received, self.unsent = connection, b"", b""
        self.sent, self.answered, self.blocks = 0, [], connection.size // BLOCK

    def is_over(self):
        """Sends and receives what is possible. Returns whether the server has disconnected."""
        wire = self.connection.socket
        while self.sent - len(self.answered) < DEPTH and len(self.unsent) < BLOCK:
            number = self.sent % self.blocks
            self.unsent += request(WRITE, number * BLOCK, BLOCK, 0, self.sent, content(self.sent))
            self.sent += 1
        readable, writable, _ = select.select([wire], [wire] if self.unsent else [], [], 30)
        if not readable and not writable:
            sys.exit("no reply and no disconnect for 30 s")
        try:
            if writable:
                self.unsent = self.unsent[wire.send(self.unsent):]
        except (BrokenPipeError, ConnectionResetError):
            self.unsent = b""
        if not readable:
            return False
        try:
            got = wire.recv(65536)
        except ConnectionResetError:
            got = b""
        self.received += got
        self.take_answers()
        return not got

    def take_answers(self):
        while len(self.received) >= 16:
            magic, error, cookie = struct.unpack(">IIQ", self.received[:16])
            if magic != SIMPLE or error:
                sys.exit(f"magic {magic:#x}, error {error} after {len(self.answered)} answers")
            self.answered.append(cookie)
            self.received = self.received[16:]


def write(address, export, record, pid):
    connection = Connection(address).go(export)
    connection.socket.setblocking(False)
    load, before = Load(connection), None
    while not load.is_over():
        if before is None and len(load.answered) >= BEFORE:
            os.kill(pid, signal.SIGTERM)
            before = len(load.answered)
    if load.received:
        sys.exit(f"the last reply has only {len(load.received)} bytes")
    if before is None:
        sys.exit(f"the server disconnected after {len(load.answered)} replies")
    last = {}
    for number in load.answered:
        last[number % load.blocks] = max(number, last.get(number % load.blocks, 0))
    with open(record, "w") as file:
        json.dump({"last": last, "sent": load.sent}, file)
    print(f"{before} replies before the signal, {len(load.answered) - before} after it")


def check(address, export, record):
    with open(record) as file:
        known = json.load(file)
    with Connection(address).go(export) as c:
        for block, number in known["last"].items():
            data = c.read(int(block) * BLOCK, BLOCK)
            stored, = struct.unpack(">Q", data[:8])
            # A later, unanswered write may also have been executed.
            if data != content(stored) or stored < number or stored % (c.size // BLOCK) != int(block):
                sys.exit(f"block {block} contains {stored} instead of {number}")
    print(f"{len(known['last'])} blocks are intact")


def main():
    _, verb, address, export, record, *rest = sys.argv
    if verb == "write":
        write(address, export.encode(), record, int(rest[0]))
    else:
        check(address, export.encode(), record)


if __name__ == "__main__":
    main()
