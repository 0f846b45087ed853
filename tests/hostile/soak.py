#!/usr/bin/env python3
"""Connects to xenpv-disk in the simulator a thousand times a second, in many ways, for minutes.

Usage: soak.py XENPV_SIM XENPV_DISK [--seconds N] [--rate N] [--processes N] [--tls] [--verbose]

Each connection ends in one of these ways: it says nothing, resets, stops inside its handshake (also in
TLS, with --tls), after its handshake, inside a request, with replies unread, or properly. Ten clients
stay connected meanwhile; one of them reads all the time. Afterwards, the server must have no more
descriptors, threads, clients and used pages than before, and as many free seats. The connections are made in
four parts. Resident memory may grow while buffers and lists reach their sizes, but by at most 4 MiB in the
last two parts.

Prints the number of connections by their ends, the rate, and the server's figures before and after. Exit
status: 0 if nothing was lost and at least 10,000 connections were made, else 1. Not run by ctest:

    tests/hostile/soak.py build/bin/xenpv-sim build/bin/xenpv-disk
"""

import argparse
import multiprocessing
import os
import random
import select
import socket
import sys
import threading
import time

from clients import (
    DISC, FLAGS, GO, HANDSHAKE_STAGES, OPTION_MAGIC, READ, START_TLS, WRITE, TlsSocket, info_data,
    make_certificates, make_context, open_connection, open_socket, receive_start_tls, request, reset)
from host import MIB, Setup, end_on_signals, set_limits
from testing import percentile, poll_until, yield_cpu

GROWTH = 4 * MIB
PARTS = 4
SEATS = 64
GO_XVDB = OPTION_MAGIC + GO.to_bytes(4, "big") + len(info_data(b"xvdb")).to_bytes(4, "big") + info_data(b"xvdb")


def say_nothing(sock, _):
    sock.close()


def reset_at_once(sock, _):
    reset(sock)


def stop_in_handshake(sock, source):
    source.choice(list(HANDSHAKE_STAGES.values()))(sock)
    source.choice((reset, socket.socket.close))(sock)


def go(sock):
    """Returns when the server has acknowledged NBD_OPT_GO: any data after the greeting."""
    sock.sendall(FLAGS + GO_XVDB)
    received = b""
    while len(received) < 18 + 20 + 12 + 20:
        part = sock.recv(4096)
        if not part:
            raise ConnectionResetError("no seat")
        received += part


def leave_after_handshake(sock, source):
    go(sock)
    source.choice((reset, socket.socket.close))(sock)


def leave_in_request(sock, source):
    go(sock)
    sock.sendall(source.choice((request(READ, 0, 512)[:source.randrange(1, 28)],
                                request(WRITE, 0, 65536, data=bytes(source.randrange(65536))))))
    reset(sock)


def leave_replies_unread(sock, source):
    go(sock)
    sock.sendall(request(READ, 0, source.choice((4096, 65536, MIB))) * source.randrange(1, 8))
    reset(sock)


def leave_properly(sock, _):
    go(sock)
    sock.sendall(request(READ, 0, 4096) + request(DISC))
    while sock.recv(65536):
        pass
    sock.close()


ENDS = (say_nothing, reset_at_once, stop_in_handshake, leave_after_handshake, leave_in_request,
        leave_replies_unread, leave_properly)


def stop_in_tls(sock, source, hello):
    sock.sendall(FLAGS + START_TLS)
    receive_start_tls(sock)
    sock.sendall(hello[:source.randrange(len(hello))] if source.random() < 0.5 else hello)
    reset(sock)


def connect_often(addresses, number, seconds, rate, hello, counts, refused, times):
    """One process: connects `rate` times a second. Counts each end, and connections without a
    greeting or seat."""
    yield_cpu()
    source = random.Random(number)
    began, made = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        due = int((time.monotonic() - began) * rate) + 1
        if made >= due:
            time.sleep(0.002)
            continue
        made += 1
        kind = source.randrange(len(ENDS) + (1 if hello else 0))
        sock, start = None, time.monotonic()
        try:
            sock = open_socket(source.choice(addresses), 5)
            if kind == len(ENDS):
                stop_in_tls(sock, source, hello)
            else:
                ENDS[kind](sock, source)
            with counts.get_lock():
                counts[kind] += 1
        except OSError:
            if sock:
                sock.close()
            with refused.get_lock():
                refused.value += 1
        if made % 100 == 0:
            times.put(time.monotonic() - start)


class Regulars(threading.Thread):
    """Clients that stay connected. One of them reads all the time."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.clients = [connect() for _ in range(10)]
        self.over, self.reads, self.slowest, self.problem = False, 0, 0, None

    def run(self):
        try:
            while not self.over:
                start = time.monotonic()
                self.clients[0].read((self.reads % 64) * 4096, 4096)
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.reads += 1
                time.sleep(0.005)
        except Exception as problem:
            self.problem = problem

    def leave(self):
        self.over = True
        self.join()
        for client in self.clients:
            if not self.problem:
                client.require_alive()
            getattr(client.socket, "raw", client.socket).close()


def figures(server):
    return {"descriptors": server.descriptors(), "threads": server.threads(),
            "resident": server.resident(), "clients": len(server.report()["server"]["clients"]),
            "pages": sum(queue["pages_used"] for queue in server.report()["queues"])}


def describe(when, values):
    print(f"{when}: {values['descriptors']} descriptors, {values['threads']} threads, "
          f"{values['resident'] / MIB:.1f} MiB resident, {values['clients']} clients, "
          f"{values['pages']} pages in use", flush=True)


def run_flood(server, options, seconds, rate, hello):
    """Returns the connections by their ends, those without a greeting or seat, the seconds, and samples of
    the time that a connection took."""
    counts = multiprocessing.Array("q", len(ENDS) + 1)
    refused, times = multiprocessing.Value("q", 0), multiprocessing.Queue()
    addresses = (server.tcp, server.tcp, server.unix)
    began = time.monotonic()
    processes = [multiprocessing.Process(
        target=connect_often, daemon=True,
        args=(addresses, number, seconds, rate / options.processes, hello, counts, refused, times))
        for number in range(options.processes)]
    for process in processes:
        process.start()
    samples = []
    while any(process.is_alive() for process in processes) and time.monotonic() - began < seconds + 30:
        select.select([times._reader], [], [], 0.2)
        while not times.empty():
            samples.append(times.get())
        server.expect_alive()
    elapsed = time.monotonic() - began
    for process in processes:
        process.kill()
        process.join()
    return list(counts), refused.value, elapsed, samples


def take_all_seats(server, connect):
    """Whether as many clients as there are seats can be connected at a time."""
    clients = []
    try:
        for _ in range(SEATS):
            clients.append(connect())
        for client in clients:
            client.require_alive()
        return len(clients)
    except Exception:
        return 0
    finally:
        for client in clients:
            getattr(client.socket, "raw", client.socket).close()


def soak(setup, options):
    arguments, hello, context = ["--max-connections", str(SEATS)], b"", None
    if options.tls:
        directory = make_certificates(setup.path("x509"))
        arguments += ["--tls-certificates", directory, "--tls", "on"]
        context = make_context(directory)
        hello = TlsSocket(None, context).first_flight()
    server = setup.serve(*arguments)

    def connect(address=None):
        client = open_connection(address or server.unix, 30)
        return (client.start_tls(context) if context else client).go(b"xvdb")

    run_flood(server, options, 3, options.rate, hello)  # every buffer has its size afterwards
    poll_until(lambda: take_all_seats(server, connect), 20, "not all seats are free after the warm-up")
    poll_until(lambda: figures(server)["clients"] == 0, 20, "clients remain after the warm-up")
    time.sleep(11)  # handshakes that were cut off have timed out
    before = figures(server)
    describe("before", before)
    regulars = Regulars(connect)
    regulars.start()
    counts, refused, elapsed, samples, resident = [0] * (len(ENDS) + 1), 0, 0, [], []
    for _ in range(PARTS):
        part = run_flood(server, options, options.seconds / PARTS, options.rate, hello)
        counts = [old + new for old, new in zip(counts, part[0])]
        refused, elapsed, samples = refused + part[1], elapsed + part[2], samples + part[3]
        time.sleep(1)
        resident.append(server.resident())
    regulars.leave()
    print("resident after each part: " + ", ".join(f"{size / MIB:.1f} MiB" for size in resident))
    total = sum(counts) + refused
    for kind, count in zip([*ENDS, stop_in_tls], counts):
        if count:
            print(f"  {kind.__name__.replace('_', ' ')}: {count}")
    print(f"  without a greeting or seat: {refused}")
    print(f"{total} connections in {elapsed:.0f} s: {total / elapsed:.0f} a second; median "
          f"{percentile(samples, 0.5) * 1000:.1f} ms, 99% {percentile(samples, 0.99) * 1000:.1f} ms")
    print(f"a client that stayed: {regulars.reads} reads, the slowest took {regulars.slowest * 1000:.0f} ms; "
          f"{len(server.log())} lines in the log")
    problems = check(server, options, before, total, regulars, connect)
    growth = resident[-1] - resident[PARTS // 2 - 1]
    if growth > GROWTH:
        problems.append(f"resident memory grew by {growth / MIB:.1f} MiB in the second half")
    return problems


def check(server, options, before, total, regulars, connect):
    """Returns the problems."""
    problems = []
    if regulars.problem:
        problems.append(f"a client that stayed failed: {type(regulars.problem).__name__}: {regulars.problem}")
    if total < 10000 and options.seconds >= 60:
        problems.append(f"only {total} connections instead of at least 10000")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        after = figures(server)
        if all(after[name] <= before[name] for name in ("descriptors", "threads", "clients", "pages")):
            break
        time.sleep(0.5)
    describe("after", after)
    for name in ("descriptors", "threads", "clients", "pages"):
        if after[name] > before[name]:
            problems.append(f"{after[name]} {name} instead of {before[name]}")
    if not take_all_seats(server, connect):
        problems.append(f"not all of the {SEATS} seats are free")
    server.terminate()
    return problems


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("Usage: "))
    parser.add_argument("simulator")
    parser.add_argument("disk")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rate", type=int, default=1000, help="connections a second, in all processes")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--tls", action="store_true",
                        help="half-open TLS handshakes, and TLS for the clients that stay")
    parser.add_argument("--verbose", action="store_true", help="print the end of the server's log")
    options = parser.parse_args()
    set_limits()
    end_on_signals()
    with Setup(os.path.abspath(options.simulator), os.path.abspath(options.disk), 0) as setup:
        problems = soak(setup, options)
        if problems or options.verbose:
            print(setup.server.log_tail())
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print("nothing was lost")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
