"""Clients that read replies or send payloads slowly, or not at all: memory, pages, and the figures of other
clients."""

import select
import socket
import threading
import time

from clients import READ, WRITE, ZEROES, open_connection, request, reset
from host import MIB
from mutes import SILENCE_LIMIT, clients_in_status, progress_options
from testing import Failed, case, expect, expect_within, poll_until

LARGE_READ_SECONDS = 10
NEIGHBOUR_SECONDS = 2  # the most that another client's small read may take


def memory_options(setup):
    """Reduces the server's budget, where it has an option for it."""
    return ("--memory", "128M") if setup.offers("--memory") else ()


class Watch(threading.Thread):
    """Another client, which reads all the time, and records its slowest read."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over = server, False
        self.slowest, self.reads, self.problem = 0, 0, None

    def __enter__(self):
        self.client = self.server.connect(timeout=30)
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()
        self.client.socket.close()

    def run(self):
        try:
            while not self.over:
                began = time.monotonic()
                self.client.read((self.reads % 16) * 4096, 4096)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.reads += 1
                time.sleep(0.01)
        except Exception as problem:  # reported by check()
            self.problem = problem

    def check(self, limit):
        """Call after the block. Returns the figures as text."""
        expect(self.problem is None, f"another client failed: {type(self.problem).__name__}: {self.problem}")
        self.server.expect_memory(limit)
        expect_within(NEIGHBOUR_SECONDS, self.slowest,
                      f"another client waited {self.slowest:.2f} s for a 4 KiB read")
        return f"at most {self.server.memory.most / MIB:.0f} of {limit / MIB:.0f} MiB resident, " \
               f"the slowest of {self.reads} reads by another client took {self.slowest * 1000:.0f} ms"


def send_what_fits(client, data, seconds=1):
    client.socket.settimeout(seconds)
    try:
        client.send(data)
    except socket.timeout:
        pass


@case(attempts=2, timed=True)
def unread_replies(setup):
    """Sixteen clients with two reads of 64 MiB each, which never read the replies."""
    server = setup.serve("--max-connections", "32", *memory_options(setup), disk="xvdb,memory=128M,queues=2")
    limit = server.memory_limit()
    with Watch(server) as watch:
        clients = [server.connect(server.tcp if n % 2 else server.unix) for n in range(16)]
        for client in clients:
            send_what_fits(client, request(READ, 0, 64 * MIB) + request(READ, 64 * MIB, 64 * MIB, cookie=2))
        time.sleep(2.5)
        # One of them reads after all, and must receive everything although the others do not read.
        reader = threading.Thread(target=drain, args=(clients[0], 2 * (64 * MIB + 16)), daemon=True)
        reader.start()
        time.sleep(0.5)
        for client in clients[1:]:
            client.socket.close()
        reader.join(30)
        expect(not reader.is_alive(), "a client that reads its large replies does not receive them")
        clients[0].socket.close()
        server.expect_alive()
    figures = watch.check(limit)
    server.expect_healthy()
    return figures


def drain(client, size):
    client.socket.settimeout(30)
    while size:
        data = client.socket.recv(min(size, MIB))
        if not data:
            raise Failed(f"disconnected with {size} bytes missing")
        size -= len(data)


@case(attempts=2, timed=True)
def unread_structured_replies(setup):
    server = setup.serve("--max-connections", "32", *memory_options(setup), disk="xvdb,memory=128M,queues=2")
    limit = server.memory_limit()
    with Watch(server) as watch:
        clients = [open_connection(server.tcp).go(b"xvdb", structured=True) for _ in range(16)]
        for client in clients:
            send_what_fits(client, b"".join(request(READ, n * MIB, 32 * MIB, cookie=n) for n in range(8)))
        time.sleep(2.5)
        for client in clients:
            client.socket.close()
        server.expect_alive()
    figures = watch.check(limit)
    server.expect_healthy()
    return figures


@case(attempts=2, timed=True)
def unread_small_replies(setup):
    """Sixteen clients that send small reads as long as the server receives them."""
    server = setup.serve("--max-connections", "32", *memory_options(setup))
    limit = server.memory_limit()
    with Watch(server) as watch:
        clients = [server.connect(server.tcp if n % 2 else server.unix) for n in range(16)]
        flood = b"".join(request(READ, n * 65536, 65536, cookie=n) for n in range(1000))
        for client in clients:
            send_what_fits(client, flood, 0.1)
        time.sleep(1)
        for client in clients:
            client.socket.close()
        server.expect_alive()
    figures = watch.check(limit)
    server.expect_healthy()
    return figures


def trickle(clients, seconds):
    """Each client reads one byte of its replies now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            client.socket.settimeout(0.05)
            try:
                client.receive(1)
            except socket.timeout:  # it waits for memory that others have
                pass
        time.sleep(0.4)


def connect_slow_readers(server):
    clients = [server.connect(server.tcp if n % 2 else server.unix) for n in range(12)]
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        send_what_fits(client, b"".join(request(READ, n * MIB, 4 * MIB, cookie=n) for n in range(16)), 0.5)
    return clients


@case(attempts=2, timed=True)
def slow_readers(setup):
    """Clients that read one byte now and then cost others' small reads nothing."""
    server = setup.serve("--max-connections", "32", *progress_options(setup), *memory_options(setup))
    limit = server.memory_limit()
    with Watch(server) as watch:
        clients = connect_slow_readers(server)
        trickle(clients, 4)  # longer than the shortened limit
        server.expect_alive()
        for client in clients:
            client.socket.close()
    figures = watch.check(limit)
    server.expect_healthy()
    return figures


@case(attempts=2, timed=True)
def large_read_beside_slow_readers(setup):
    """Clients that read one byte now and then cannot keep memory from a client that reads as fast as it
    can."""
    server = setup.serve("--max-connections", "32", *progress_options(setup), *memory_options(setup))
    slow = connect_slow_readers(server)
    with server.connect() as reader:
        reader.send(request(READ, 0, 8 * MIB))
        began, left = time.monotonic(), 16 + 8 * MIB
        while left:
            trickle(slow, 0.1)
            if select.select([reader.socket], [], [], 0)[0]:
                left -= len(reader.receive(min(left, 2 * MIB)))
            expect_within(LARGE_READ_SECONDS, time.monotonic() - began,
                          f"{LARGE_READ_SECONDS} s after its request, another client lacks {left} bytes")
        seconds = time.monotonic() - began
    for client in slow:
        client.socket.close()
    server.expect_healthy()
    return f"8 MiB in {seconds:.1f} s"


@case(attempts=2, timed=True)
def slow_writers(setup):
    """Clients that send a large payload byte by byte."""
    server = setup.serve("--max-connections", "32", *progress_options(setup), *memory_options(setup))
    limit = server.memory_limit()
    with Watch(server) as watch:
        clients = [server.connect(server.tcp if n % 2 else server.unix) for n in range(16)]
        for number, client in enumerate(clients):
            client.send(request(WRITE, number * MIB, 32 * MIB))
        for _ in range(40):  # for four seconds, longer than the shortened limit
            for client in clients:
                client.send(b"x")
            time.sleep(0.1)
        server.expect_alive()
        with server.connect() as writer:  # other clients can still write
            began = time.monotonic()
            writer.write(60 * MIB, bytes(MIB))
            expect_within(NEIGHBOUR_SECONDS, time.monotonic() - began,
                          "another client's write of 1 MiB took too long")
        for client in clients:
            client.socket.close()
    figures = watch.check(limit)
    server.expect_healthy()
    return figures


@case()
def abandoned_requests_end(setup):
    """A client that asks for hours of work and disappears does not keep its seat, nor hold up SIGTERM."""
    server = setup.serve(disk="xvdb,memory=1G,queues=2")
    resources = server.count_resources()
    for _ in range(2):
        client = server.connect(server.tcp)
        client.send(b"".join(request(ZEROES, 0, 1 << 30, 2, cookie) for cookie in range(128)))
        time.sleep(0.3)
        reset(client.socket)
    poll_until(lambda: not clients_in_status(server), 10,
               lambda: f"{clients_in_status(server)} clients that have disconnected still have seats")
    server.expect_resources(resources)
    return f"exited after {server.terminate():.1f} s"


def pages_used(server):
    return sum(queue["pages_used"] for queue in server.report()["queues"])


@case(attempts=2, timed=True)
def dead_readers_release_everything(setup):
    """Clients that never read are disconnected; their seats, pages and memory return."""
    server = setup.serve(*progress_options(setup), *memory_options(setup))
    resources, idle = server.count_resources(), pages_used(server)
    clients = [server.connect(server.tcp if n % 2 else server.unix) for n in range(15)]
    for client in clients:
        send_what_fits(client, b"".join(request(READ, n * MIB, 2 * MIB, cookie=n) for n in range(32)), 0.2)
    end = time.monotonic() + SILENCE_LIMIT
    while time.monotonic() < end and clients_in_status(server):
        time.sleep(0.2)
    left = clients_in_status(server)
    expect(left == 0, f"after {SILENCE_LIMIT} s, {left} of 15 clients that do not read are still connected")
    used = pages_used(server)
    expect(used <= idle, f"{used} pages are in use without clients, {idle} before")
    for client in clients:
        client.socket.close()
    server.expect_resources(resources)
    seats = [server.connect() for _ in range(16)]
    for client in seats:
        client.require_alive()
        client.socket.close()
    return "15 clients disconnected, 16 others connected"
