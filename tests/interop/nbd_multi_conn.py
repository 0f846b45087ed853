#!/usr/bin/env python3
"""Writes over several connections until a power cut, and checks that flushed writes survived.

Usage: nbd_multi_conn.py write SOCKET EXPORT RECORD WRITES CUT...   CUT... is the command that cuts the power
       nbd_multi_conn.py check SOCKET EXPORT RECORD

`write`: each connection writes successive versions of its own blocks and flushes occasionally. Once
a flush on any connection has been answered, all writes that had been answered on any connection
before this flush was sent must survive: section "Transmission flags", NBD_FLAG_CAN_MULTI_CONN.
`check` verifies this. It also prints the number of blocks that are older than their last answered
write: these writes had not been flushed, and their loss proves that the power cut was effective.
"""

import json
import random
import struct
import subprocess
import sys
import threading

from nbd_conformance import FLUSH, FUA, WRITE, Connection, Wrong

CONNECTIONS, BLOCKS, BLOCK, SECTOR = 4, 64, 4096, 512


def sector(block, version):
    return struct.pack(">QQ", block, version) * (SECTOR // 16)


class Writer(threading.Thread):
    """Writes its own blocks over one connection. All writers share `answered` and `durable`."""

    def __init__(self, shared, number, connection, writes):
        super().__init__()
        self.shared, self.number, self.connection, self.writes = shared, number, connection, writes
        self.random = random.Random(number)

    def run(self):
        try:
            for _ in range(self.writes):
                if self.random.random() < 0.05:
                    self.flush()
                else:
                    self.write()
        except (Wrong, OSError) as e:
            # After the power cut, unanswered writes may or may not have been executed.
            self.shared.ended.append(str(e))

    def write(self):
        shared, block = self.shared, self.number * BLOCKS + self.random.randrange(BLOCKS)
        version = shared.sent[block] + 1
        shared.sent[block] = version
        fua = self.random.random() < 0.05
        data = sector(block, version) * (BLOCK // SECTOR)
        self.ask(WRITE, block * BLOCK, BLOCK, FUA if fua else 0, data)
        shared.answered[block] = version
        if fua:
            shared.durable[block] = max(shared.durable[block], version)
        shared.count()

    def flush(self):
        before = list(self.shared.answered)
        self.ask(FLUSH, 0, 0, 0, b"")
        with self.shared.lock:
            self.shared.durable = [max(pair) for pair in zip(self.shared.durable, before)]

    def ask(self, command, offset, length, flags, data):
        error, _ = self.connection.ask(command, offset, length, flags, data)
        if error:
            raise Wrong(f"error {error}")


class Shared:
    def __init__(self, until):
        total = CONNECTIONS * BLOCKS
        self.sent, self.answered, self.durable = [0] * total, [0] * total, [0] * total
        self.lock, self.ended, self.left, self.due = threading.Lock(), [], until, threading.Event()

    def count(self):
        with self.lock:
            self.left -= 1
            if not self.left:
                self.due.set()


def write(address, export, record, writes, cut):
    shared = Shared(writes)
    connections = [Connection(address).go(export) for _ in range(CONNECTIONS)]
    writers = [Writer(shared, n, connection, 100 * writes)
               for n, connection in enumerate(connections)]
    for writer in writers:
        writer.start()
    if not shared.due.wait(60):
        sys.exit(f"{writes} writes were not answered in time: {shared.ended}")
    subprocess.run(cut, check=True, stdout=subprocess.DEVNULL)
    for writer in writers:
        writer.join()
    with open(record, "w") as file:
        json.dump({"sent": shared.sent, "answered": shared.answered, "durable": shared.durable}, file)


def check(address, export, record):
    with open(record) as file:
        known = json.load(file)
    lost = 0
    with Connection(address).go(export) as c:
        for block, durable in enumerate(known["durable"]):
            data, oldest = c.read(block * BLOCK, BLOCK), None
            for at in range(0, BLOCK, SECTOR):
                stored, version = struct.unpack(">QQ", data[at:at + 16])
                place = f"block {block}, byte {at}"
                if version and (stored != block or data[at:at + SECTOR] != sector(block, version)):
                    sys.exit(f"{place}: data that was not written to this block")
                if not durable <= version <= known["sent"][block]:
                    sys.exit(f"{place}: version {version}, expected {durable} (flushed) to "
                             f"{known['sent'][block]} (last)")
                oldest = version if oldest is None else min(oldest, version)
            lost += oldest < known["answered"][block]
    print(f"durable {sum(1 for version in known['durable'] if version)} lost {lost}")


def main():
    _, verb, address, export, record, *rest = sys.argv
    if verb == "write":
        write(address, export.encode(), record, int(rest[0]), rest[1:])
    else:
        check(address, export.encode(), record)


if __name__ == "__main__":
    main()
