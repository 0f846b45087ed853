"""Clients that fall silent, in each stage of the protocol."""

import socket
import time

from clients import (
    HANDSHAKE_STAGES, READ, TLS_STAGES, WRITE, Crowd, make_certificates, make_context, make_keys,
    open_connection, open_socket, request, time_to_close)
from testing import case, expect

HANDSHAKE_LIMIT = 10  # seconds; the default of the server


@case()
def silent_handshakes_end(setup):
    """A client that falls silent before the transmission phase is disconnected in time."""
    server = setup.serve("--tls-psk", make_keys(setup.path("keys.psk")), "--tls", "on")
    resources = server.count_resources()
    socks = {}
    for where, address in (("Unix", server.unix), ("TCP", server.tcp)):
        for stage, greet in {**HANDSHAKE_STAGES, **TLS_STAGES}.items():
            sock = open_socket(address)
            greet(sock)
            socks[f"{where}, silent {stage}"] = sock
    times = time_to_close(socks, HANDSHAKE_LIMIT + 4)
    open_still = sorted(set(socks) - set(times))
    expect(not open_still, f"still connected after {HANDSHAKE_LIMIT + 4} s: {'; '.join(open_still)}")
    for sock in socks.values():
        sock.close()
    server.expect_resources(resources)
    return f"{len(socks)} stages, disconnected after {min(times.values()):.1f} to {max(times.values()):.1f} s"


def progress_options(setup):
    """Shortens the time that a client may take without progress, where the server has one."""
    return ("--progress-timeout", "2s") if setup.offers("--progress-timeout") else ()


SILENCE_LIMIT = 2 + 6  # seconds: the shortened limit, and generous time to notice


def silent_requests(setup, open_client):
    """Connects one client for each stage of a request. Returns them, and those with nothing
    outstanding."""
    large = request(READ, 0, 32 << 20, cookie=1) * 4
    stages = {"inside a request's header": request(READ, 0, 4096)[:10],
              "before a payload": request(WRITE, 0, 65536),
              "inside a payload": request(WRITE, 0, 65536, data=bytes(5000)),
              "inside a large payload": request(WRITE, 0, 32 << 20, data=bytes(100000)),
              "and never reads a large reply": large}
    silent = {stage: open_client() for stage in stages}
    idle = {"after connecting": open_client(), "after a request": open_client()}
    idle["after a request"].require_alive()
    for stage, client in silent.items():
        client.socket.settimeout(2)
        try:
            client.send(stages[stage])
        except socket.timeout:
            pass
    return silent, idle


def clients_in_status(server):
    return len(server.report()["server"]["clients"])


def expect_silent_clients_end(setup, server, open_client):
    resources = server.count_resources(open_client)
    silent, idle = silent_requests(setup, open_client)
    end = time.monotonic() + SILENCE_LIMIT
    # A client that reads would show progress, so ask the server instead of the sockets.
    while time.monotonic() < end and clients_in_status(server) > len(idle):
        time.sleep(0.2)
    left = clients_in_status(server)
    if left > len(idle):
        closed = time_to_close({stage: client.raw for stage, client in silent.items()}, 1)
        expect(False, f"after {SILENCE_LIMIT} s, {left} clients are connected instead of the {len(idle)} idle "
                      f"ones; silent {', '.join(stage for stage in silent if stage not in closed)}")
    for stage, client in idle.items():
        client.require_alive()
        expect(client.read(0, 512) is not None, f"the idle client {stage} was disconnected")
    for client in (*silent.values(), *idle.values()):
        client.raw.close()
    server.expect_resources(resources)
    return f"{len(silent)} silent clients disconnected, {len(idle)} idle ones kept"


def opener(connect_client):
    def open_client():
        client = connect_client()
        client.raw = getattr(client.socket, "raw", client.socket)
        return client
    return open_client


@case()
def silent_clients_end(setup):
    server = setup.serve(*progress_options(setup))
    return expect_silent_clients_end(setup, server, opener(lambda: server.connect(server.tcp)))


@case()
def silent_clients_end_with_tls(setup):
    setup.needs("openssl")
    directory = make_certificates(setup.path("x509"))
    context = make_context(directory)
    server = setup.serve("--tls-certificates", directory, *progress_options(setup))
    return expect_silent_clients_end(
        setup, server, opener(lambda: open_connection(server.unix).start_tls(context).go(b"xvdb")))


@case()
def termination_beside_silent_handshakes(setup):
    """SIGTERM does not wait for clients that are silent in their handshakes."""
    server = setup.serve("--tls-psk", make_keys(setup.path("keys.psk")))
    crowds = [Crowd(server.tcp, 4, greet) for greet in {**HANDSHAKE_STAGES, **TLS_STAGES}.values()]
    for crowd in crowds:
        crowd.refill()
    time.sleep(0.2)
    seconds = server.terminate(3)
    for crowd in crowds:
        crowd.__exit__()
    return f"exited after {seconds:.1f} s"
