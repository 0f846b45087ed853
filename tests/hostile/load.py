#!/usr/bin/env python3
"""A client that keeps many requests of one kind in flight, and one that measures the latency of its reads.

Usage: load.py pipeline (unix:PATH | tcp:HOST:PORT) KIND
       load.py latency (unix:PATH | tcp:HOST:PORT)

`pipeline` prints "started", keeps requests in flight until its stdin ends, disconnects abruptly, and
prints the number of answers. `latency` measures for each line "COUNT SECONDS MOST" on stdin: it reads
4 KiB at a time until it has made COUNT reads in at least SECONDS seconds, or MOST seconds have passed. It
prints the latencies in microseconds. Both are processes of their own, so that they do not share a CPU
with each other more than necessary.
"""

import gc
import random
import select
import struct
import sys
import time

from clients import FLUSH, READ, TRIM, WRITE, ZEROES, Connection, request, reset
from testing import yield_cpu

KIB, MIB = 1 << 10, 1 << 20


def messages(kind, size):
    """Returns the requests of a kind of load, the number in flight, and the bytes that each reads."""
    def spread(length, count):
        return [(n * length) % max(size - length, 1) // 4096 * 4096 for n in range(count)]

    large = min(size, 1 << 30)
    if kind == "zeroes":
        return [request(ZEROES, 0, large, 0)] * 128, 128, 0
    if kind == "zeroes_without_holes":
        return [request(ZEROES, 0, large, 2)] * 128, 128, 0
    if kind == "large_reads":
        return [request(READ, at, 32 * MIB) for at in spread(32 * MIB, 16)], 16, 32 * MIB
    if kind == "reads":
        return [request(READ, at, 256 * KIB) for at in spread(256 * KIB, 128)], 128, 256 * KIB
    if kind == "small_reads":
        return [request(READ, at, 4 * KIB) for at in spread(4 * KIB, 256)], 256, 4 * KIB
    if kind == "writes":
        return [request(WRITE, at, 256 * KIB, data=bytes(256 * KIB)) for at in spread(256 * KIB, 128)], 128, 0
    if kind == "large_writes":
        return [request(WRITE, at, 4 * MIB, data=bytes(4 * MIB)) for at in spread(4 * MIB, 8)], 8, 0
    if kind == "trims":
        small = [request(TRIM, at, 4 * KIB) for at in spread(4 * KIB, 64)]
        return [request(TRIM, 0, large, 0)] * 64 + small, 128, 0
    if kind == "flushes":
        return [request(FLUSH)] * 128, 128, 0
    raise SystemExit(f"unknown kind '{kind}'")


class Pipeline:
    def __init__(self, client, requests, depth, reading):
        self.wire, self.requests, self.depth = client.socket, requests, depth
        self.answer = 16 + reading
        self.sent, self.received = 0, 0
        self.unsent = memoryview(b"")
        self.buffer = bytearray(MIB)
        self.wire.setblocking(False)

    @property
    def answered(self):
        return self.received // self.answer

    def send_some(self):
        if not self.unsent:
            room = self.depth - (self.sent - self.answered)
            if room <= 0:
                return
            first = self.sent % len(self.requests)
            batch = self.requests[first:first + room]
            if len(batch[0]) > 4096:
                batch = batch[:1]
            self.sent += len(batch)
            self.unsent = memoryview(b"".join(batch) if len(batch) > 1 else batch[0])
        try:
            self.unsent = self.unsent[self.wire.send(self.unsent[:MIB]):]
        except BlockingIOError:
            pass

    def run(self):
        poller = select.poll()
        poller.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
        while True:
            wants_to_send = self.unsent or self.sent - self.answered < self.depth
            poller.register(self.wire.fileno(), select.POLLIN | (select.POLLOUT if wants_to_send else 0))
            for number, event in poller.poll(1000):
                if number == sys.stdin.fileno():
                    return
                if event & ~select.POLLOUT:
                    size = self.wire.recv_into(self.buffer)
                    if not size:
                        raise SystemExit("the server disconnected the load")
                    if not self.received and struct.unpack_from(">I", self.buffer, 4)[0]:
                        raise SystemExit("the load's first request failed")
                    self.received += size
                if event & select.POLLOUT:
                    self.send_some()


def run_pipeline(client, kind):
    yield_cpu()
    pipeline = Pipeline(client, *messages(kind, client.size))
    print("started", flush=True)
    pipeline.run()
    print(pipeline.answered, flush=True)
    reset(client.socket)


def measure_latency(client):
    gc.disable()
    wire, out, source = client.socket, memoryview(bytearray(16 + 4096)), random.Random(1)
    blocks = min(client.size, 16 * MIB) // 4096
    for line in sys.stdin:
        count, seconds, most = (float(word) for word in line.split())
        latencies, began = [], time.monotonic()
        while True:
            message = request(READ, source.randrange(blocks) * 4096, 4096)
            start = time.perf_counter_ns()
            wire.sendall(message)
            size = 0
            while size < len(out):
                part = wire.recv_into(out[size:])
                if not part:
                    raise SystemExit("the server disconnected the measuring client")
                size += part
            latencies.append((time.perf_counter_ns() - start) / 1000)
            elapsed = time.monotonic() - began
            if elapsed > most or (len(latencies) >= count and elapsed >= seconds):
                break
            time.sleep(0.0005)
        print(" ".join(f"{value:.1f}" for value in latencies), flush=True)


def main():
    client = Connection(sys.argv[2], timeout=60).go(b"xvdb")
    if sys.argv[1] == "pipeline":
        run_pipeline(client, sys.argv[3])
    else:
        measure_latency(client)


if __name__ == "__main__":
    main()
