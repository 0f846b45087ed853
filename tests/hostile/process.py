"""What a process must bear besides its clients: a log that nobody reads, missing standard streams, few
descriptors."""

import fcntl
import os
import struct
import subprocess
import termios
import time

from clients import READ, Crowd, open_connection, open_socket, request, reset
from host import NotStarted
from testing import Failed, case, expect, poll_until


DESCRIPTORS = 80  # RLIMIT_NOFILE; of these, the simulator needs about 25
STRANGERS = 60


@case()
def unread_log(setup):
    """stderr is a pipe that nobody reads, and full."""
    server = setup.serve("--log-level", "debug", unread_log=True)
    for number in range(200):
        try:
            with server.connect(server.tcp if number % 2 else server.unix, timeout=5) as client:
                client.read(0, 4096)
        except Exception as problem:
            raise Failed(f"client {number} gets no answer while nobody reads the log: "
                         f"{type(problem).__name__}: {problem}") from problem
    waiting = struct.unpack("i", fcntl.ioctl(server.log_pipe, termios.FIONREAD, bytes(4)))[0]
    expect(server.is_log_full(), f"the pipe was never full: {waiting} bytes")
    seconds = server.terminate(8)
    return f"200 clients served; {waiting} bytes unread; SIGTERM took {seconds:.1f} s"


def check_closed_streams(setup, closed):
    """Clients must never receive what the server logs or prints."""
    wrapper = 'exec "$@" ' + " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    try:
        server = setup.serve("--log-level", "debug", wrapper=wrapper, stdout=subprocess.DEVNULL)
    except NotStarted as problem:
        expect(1 in closed and problem.status == 1, str(problem))
        return "the server does not start, because it cannot print its addresses"
    content = os.urandom(65536)
    with server.connect() as writer:
        writer.write(0, content)
    clients = []
    for _ in range(8):
        clients.append(server.connect(timeout=5))
        # Other clients come and go meanwhile: each causes lines in the log.
        open_socket(server.unix).close()
        reset(server.connect().socket)
        time.sleep(0.02)
        for number, reader in enumerate(clients):
            reader.send(request(READ, 0, 65536, cookie=7))
            header = reader.receive(16)
            expect(header == struct.pack(">IIQ", 0x67446698, 0, 7),
                   f"client {number} received {header!r} instead of the header of a reply")
            expect(reader.receive(65536) == content, f"client {number} read other data than was written")
    for number in range(3):
        link = os.readlink(f"/proc/{server.pid}/fd/{number}")
        expect(link.startswith("/"), f"descriptor {number}, a standard stream, is {link}")
    for client in clients:
        client.socket.close()
    if 1 in closed:  # the addresses were not printed, which may be an error
        server.terminate(statuses=(0, 1))
    return f"{len(clients)} clients read what was written"


@case()
def closed_stderr(setup):
    return check_closed_streams(setup, (2,))


@case()
def closed_stdout(setup):
    return check_closed_streams(setup, (1,))


@case()
def closed_stdout_and_stderr(setup):
    return check_closed_streams(setup, (1, 2))


@case()
def closed_standard_streams(setup):
    return check_closed_streams(setup, (0, 1, 2))


@case(attempts=2)
def few_descriptors(setup):
    """With a low RLIMIT_NOFILE, a flood of connections breaks neither the disk nor its recovery."""
    server = setup.serve("--max-connections", "200", wrapper=f'ulimit -n {DESCRIPTORS} && exec "$@"')
    with server.connect(timeout=30) as client:
        client.require_alive()
        lines_before, began, busy = len(server.log()), time.monotonic(), server.processor_seconds()
        # Clients that complete the handshake, and strangers.
        others = []
        for _ in range(80):
            try:
                others.append(open_connection(server.unix, 1).go(b"xvdb"))
            except Exception:  # no descriptor left, or no greeting
                break
        with Crowd(server.tcp, STRANGERS) as crowd:
            client.require_alive()
            subprocess.run([setup.simulator, "disk", "--dir", setup.host, "restart", "xvdb"], check=True,
                           timeout=30)
            restarted = time.monotonic()
            try:
                client.require_alive()
            except Exception as problem:
                raise Failed("after its backend restarted, the disk does not answer: "
                             f"{type(problem).__name__}: {problem}") from problem
            recovery = time.monotonic() - restarted
            crowd.refill()
            time.sleep(1)
            client.require_alive()
            seconds = time.monotonic() - began
            used = server.processor_seconds() - busy
            lines = len(server.log()) - lines_before
        for other in others:
            other.socket.close()
    expect(lines <= 20 + 5 * seconds, f"{lines} lines in the log within {seconds:.1f} s, such as: "
                                      f"{server.log()[-1][:200]}")
    expect(used < 0.5 * seconds, f"the server used {used:.1f} s of CPU time within {seconds:.1f} s")

    def is_served():
        try:
            server.expect_healthy(server.tcp)
            return True
        except Exception:
            return False
    poll_until(is_served, 15, "no new client gets in after the flood")
    return f"{len(others)} clients and {STRANGERS} strangers; recovered in {recovery:.1f} s; " \
           f"{lines} lines in the log"
