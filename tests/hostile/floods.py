"""Floods of connections and handshakes by strangers. Clients with a key must still be served."""

import multiprocessing
import time

from clients import (
    FLAGS, HANDSHAKE_STAGES, START_TLS, TLS_STAGES, Crowd, TlsSocket, make_certificates, make_context,
    make_keys, open_connection, open_socket, receive_start_tls, reset, try_nbdinfo)
from testing import Failed, case, expect, expect_within, percentile, yield_cpu

ATTEMPTS = 30
CONNECTIONS = 500  # by clients that leave at once
MOST_SECONDS = 3  # to connect and ask for the size, on a busy machine


def count_admitted(crowds, enter):
    """Calls `enter` thirty times beside the crowds. Returns a description."""
    good, times, texts = 0, [], []
    for _ in range(ATTEMPTS):
        for crowd in crowds:
            crowd.refill()
        entered, seconds, text = enter()
        good += entered
        times.append(seconds)
        texts += [text] if not entered else []
    crowd_sizes = "+".join(str(crowd.size) for crowd in crowds)
    expect(good == ATTEMPTS, f"beside {crowd_sizes} strangers, a client got in {good} of {ATTEMPTS} times; "
                             f"the first refusal: {texts[0] if texts else ''}")
    expect_within(MOST_SECONDS, max(times), f"a client needed {max(times):.2f} s to get in")
    return f"{good} of {ATTEMPTS} beside {crowd_sizes} (median {percentile(times, 0.5) * 1000:.0f} ms)"


def enter_plaintext(server, address):
    began = time.monotonic()
    try:
        with server.connect(address) as client:
            client.read(0, 4096)
    except Exception as problem:  # any failure means that the client did not get in
        return False, time.monotonic() - began, f"{type(problem).__name__}: {problem}"
    return True, time.monotonic() - began, ""


@case(attempts=2)
def mute_sockets_and_keys(setup):
    setup.needs("nbdinfo")
    keys = make_keys(setup.path("keys.psk"))
    server = setup.serve("--tls-psk", keys)
    out = []
    for size in (16, 100, 500):
        with Crowd(server.tcp, size) as crowd:
            out.append(count_admitted([crowd], lambda: try_nbdinfo(server.uris[1])))
            if size == 500:
                out.append("over the Unix socket " + count_admitted(
                    [crowd], lambda: try_nbdinfo(server.uris[0])))
    return ", ".join(out)


@case(attempts=2)
def mute_sockets_without_tls(setup):
    server = setup.serve()
    with Crowd(server.tcp, 300) as crowd:
        local = count_admitted([crowd], lambda: enter_plaintext(server, server.unix))
        remote = count_admitted([crowd], lambda: enter_plaintext(server, server.tcp))
    return f"over the Unix socket {local}, over TCP {remote}"


@case(attempts=2)
def mute_sockets_on_both_listeners(setup):
    server = setup.serve()
    with Crowd(server.tcp, 200) as remote, Crowd(server.unix, 100) as local:
        return count_admitted([remote, local], lambda: enter_plaintext(server, server.unix))


@case(attempts=2)
def half_open_handshakes(setup):
    setup.needs("nbdinfo")
    keys = make_keys(setup.path("keys.psk"))
    server = setup.serve("--tls-psk", keys)
    stages = {**HANDSHAKE_STAGES, **TLS_STAGES}
    crowds = [Crowd(server.tcp, 20, greet) for greet in stages.values()]
    try:
        for crowd in crowds:
            crowd.refill()
        return count_admitted(crowds, lambda: try_nbdinfo(server.uris[1]))
    finally:
        for crowd in crowds:
            crowd.__exit__()


def connect_and_close(address, seconds, most, count):
    """A process that connects and disconnects as fast as it can."""
    yield_cpu()
    end = time.monotonic() + seconds
    while time.monotonic() < end and count.value < most:
        try:
            sock = open_socket(address, 2)
        except OSError:
            continue
        if count.value % 2:
            reset(sock)
        else:
            sock.close()
        count.value += 1


@case(attempts=2)
def connect_and_close_flood(setup):
    server = setup.serve()
    resources = server.count_resources()
    lines_before, began = len(server.log()), time.monotonic()
    count = multiprocessing.Value("q", 0)
    flood = multiprocessing.Process(target=connect_and_close, args=(server.tcp, 3, 30000, count), daemon=True)
    flood.start()
    try:
        entered = [enter_plaintext(server, server.unix if n % 2 else server.tcp) for n in range(ATTEMPTS)]
        good = sum(1 for admitted, *_ in entered if admitted)
        expect(good == ATTEMPTS, f"a client got in {good} of {ATTEMPTS} times; the first refusal: "
               + next((text for admitted, _, text in entered if not admitted), ""))
        flood.join(30)
    finally:
        flood.kill()
        flood.join()
    expect(count.value >= 100, f"only {count.value} connections in the flood")
    server.expect_alive()
    server.expect_healthy(server.tcp)
    server.expect_resources(resources)
    lines = len(server.log()) - lines_before
    most = 10 * (time.monotonic() - began + 1)
    expect(lines <= most, f"{count.value} connections caused {lines} lines in the log instead of at most "
                          f"{most:.0f}, such as: {server.log()[-1][:200]}")
    return f"{count.value} connections, {lines} lines in the log"


@case(attempts=2)
def turned_away_clients_in_the_log(setup):
    """Clients beyond --max-connections that leave again cause few lines in the log."""
    server = setup.serve("--max-connections", "1")
    with server.connect() as seated:
        began, lines_before = time.monotonic(), len(server.log())
        for _ in range(CONNECTIONS):
            reset(open_socket(server.tcp, 2))
        seated.read(0, 4096)
        lines = len(server.log()) - lines_before
        most = 10 * (time.monotonic() - began + 1)
        expect(lines <= most, f"{CONNECTIONS} clients caused {lines} lines in the log instead of at most "
                              f"{most:.0f}, such as: {server.log()[-1][:200]}")
    return f"{CONNECTIONS} clients, {lines} lines in the log"


# The TLS handshake flood.


def record_client_hello(directory):
    """Returns a ClientHello. The server must sign its answer, which costs it far more than the
    stranger, who only repeats these bytes."""
    return TlsSocket(None, make_context(directory)).first_flight()


def flood_with_hellos(address, hello, running, count):
    yield_cpu()
    while running.value:
        try:
            sock = open_socket(address, 5)
            sock.sendall(FLAGS + START_TLS)
            receive_start_tls(sock)
            sock.sendall(hello)
            count.value += bool(sock.recv(1))  # the ServerHello
            sock.close()
        except OSError:
            time.sleep(0.01)


def reads_per_second(client, seconds):
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        client.read((count % 64) * 4096, 4096)
        count += 1
    return count / (time.monotonic() - began)


@case(attempts=2, timed=True)
def tls_handshake_flood(setup):
    setup.needs("openssl")
    directory = make_certificates(setup.path("x509"), "rsa")
    server = setup.serve("--tls-certificates", directory)
    context = make_context(directory)
    hello = record_client_hello(directory)
    running, count = multiprocessing.Value("b", 0), multiprocessing.Value("q", 0)
    ratios, figures = [], []
    with open_connection(server.tcp).start_tls(context).go(b"xvdb") as client:
        reads_per_second(client, 0.3)
        for _ in range(3):
            quiet = reads_per_second(client, 0.7)
            running.value, before = 1, count.value
            flood = [multiprocessing.Process(target=flood_with_hellos, daemon=True,
                                             args=(server.tcp, hello, running, count)) for _ in range(2)]
            for process in flood:
                process.start()
            try:
                time.sleep(0.2)
                flooded = reads_per_second(client, 1.2)
            finally:
                running.value = 0
                for process in flood:
                    process.join(10)
                    process.kill()
            ratios.append(flooded / quiet)
            figures.append(f"{quiet:.0f} -> {flooded:.0f} reads/s beside "
                           f"{(count.value - before) / 1.4:.0f} handshakes/s")
    expect(count.value > 10, f"only {count.value} handshakes in the flood")
    expect_within(-0.5, -percentile(ratios, 0.5), "a client with TLS keeps less than half of its reads: "
                  + ", ".join(figures))
    began = time.monotonic()
    open_connection(server.tcp).start_tls(context).go(b"xvdb").require_alive()
    expect_within(MOST_SECONDS, time.monotonic() - began, "a new client waits too long after the flood")
    return ", ".join(figures)


@case(attempts=2)
def new_clients_beside_a_tls_handshake_flood(setup):
    setup.needs("openssl")
    directory = make_certificates(setup.path("x509"), "rsa")
    server = setup.serve("--tls-certificates", directory)
    context, hello = make_context(directory), record_client_hello(directory)
    running, count = multiprocessing.Value("b", 1), multiprocessing.Value("q", 0)
    flood = [multiprocessing.Process(target=flood_with_hellos, daemon=True,
                                     args=(server.tcp, hello, running, count)) for _ in range(2)]
    for process in flood:
        process.start()
    try:
        times = []
        for number in range(10):
            began = time.monotonic()
            address = server.unix if number % 2 else server.tcp
            try:
                with open_connection(address).start_tls(context).go(b"xvdb") as client:
                    client.require_alive()
            except Exception as problem:
                raise Failed(f"client {number} of 10 did not get in: "
                             f"{type(problem).__name__}: {problem}") from problem
            times.append(time.monotonic() - began)
    finally:
        running.value = 0
        for process in flood:
            process.join(10)
            process.kill()
    expect_within(MOST_SECONDS, max(times), f"a client needed {max(times):.2f} s to get in")
    return f"10 of 10 beside {count.value} handshakes (median {percentile(times, 0.5) * 1000:.0f} ms)"
