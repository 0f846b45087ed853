"""Malformed and hostile TLS, from the first byte to an established connection."""

import random
import socket
import ssl
import struct
import time

from clients import (
    ACK, FLAGS, LIST, OPTION_MAGIC, READ, START_TLS, STARTTLS, TlsSocket, Wrong, make_certificates,
    make_context, open_connection, open_socket, receive_start_tls, request, reset)
from testing import Failed, case, expect

HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC, APPLICATION_DATA, HEARTBEAT = 22, 21, 20, 23, 24


def record(kind, data, version=0x0301, length=None):
    return struct.pack(">BHH", kind, version, len(data) if length is None else length) + data


def client_hello(directory, version=None):
    return TlsSocket(None, make_context(directory, version)).first_flight()


def with_version(hello, version):
    """Changes the version in the record and in the ClientHello."""
    return hello[:1] + version + hello[3:9] + version + hello[11:]


def malformed_starts(directory, source):
    """Returns what a client may send instead of a TLS handshake."""
    hello = client_hello(directory)
    old = client_hello(directory, ssl.TLSVersion.TLSv1_2)
    out = {
        "nothing, then the end": b"",
        "plaintext options": OPTION_MAGIC + struct.pack(">II", LIST, 0),
        "a plaintext request": request(READ, 0, 4096),
        "an empty record": record(HANDSHAKE, b""),
        "a thousand empty records": record(HANDSHAKE, b"") * 1000,
        "a record of 65535 bytes": record(HANDSHAKE, bytes(65535)),
        "the header of a record of 65535 bytes": record(HANDSHAKE, b"", length=65535),
        "a record of an unknown type": record(99, bytes(100)),
        "a record of an unknown version": record(HANDSHAKE, hello[5:], 0x7F7F),
        "a message of 16 MiB": record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(16000)) * 20,
        "a message of 16 MiB in records of one byte": b"".join(
            record(HANDSHAKE, bytes((byte,))) for byte in b"\1\xff\xff\xff" + bytes(2000)),
        "an SSL 2.0 ClientHello": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37),
        "an SSL 3.0 ClientHello": with_version(old, b"\3\0"),
        "a TLS 1.0 ClientHello": with_version(old, b"\3\1"),
        "a TLS 1.1 ClientHello": with_version(old, b"\3\2"),
        "close_notify": record(ALERT, b"\1\0"),
        "a fatal alert": record(ALERT, b"\2\x28"),
        "a thousand warnings": record(ALERT, b"\1\x5a") * 1000,
        "a thousand ChangeCipherSpec": record(CHANGE_CIPHER_SPEC, b"\1") * 1000,
        "application data": record(APPLICATION_DATA, bytes(1000)),
        "a heartbeat": record(HEARTBEAT, b"\1\x40\0"),
        "a HelloRequest": record(HANDSHAKE, b"\0\0\0\0"),
        "a ServerHello": record(HANDSHAKE, b"\2" + hello[6:]),
        "Finished": record(HANDSHAKE, b"\x14\0\0\x20" + bytes(32)),
        "two ClientHellos": hello + hello,
        "a ClientHello and application data": hello + record(APPLICATION_DATA, bytes(500), 0x0303),
        "a ClientHello and plaintext options": hello + OPTION_MAGIC + struct.pack(">II", LIST, 0),
        "a ClientHello without ciphers": record(HANDSHAKE, b"\1\0\0\x2b\3\3" + bytes(33) + b"\0\0\1\0\0\0"),
        "a ClientHello in records of one byte": b"".join(
            record(HANDSHAKE, bytes((byte,))) for byte in hello[5:]),
    }
    for size in (1, 4, 5, 6, 9, 43, len(hello) - 1):
        out[f"{size} bytes of a ClientHello"] = hello[:size]
    for number in range(40):
        mutated = bytearray(hello if number % 2 else old)
        for _ in range(source.choice((1, 2, 8))):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        out[f"mutated ClientHello {number}"] = bytes(mutated)
    for number in range(10):
        out[f"random bytes {number}"] = source.randbytes(source.choice((1, 5, 300, 20000)))
    return out


def finish(sock, data, name):
    """Sends data, ends the stream, and expects the server to disconnect."""
    sock.settimeout(5)
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = 0
        while received < 1 << 20:
            part = sock.recv(65536)
            if not part:
                return
            received += len(part)
    except (ConnectionError, BrokenPipeError):
        return
    except OSError as problem:
        if isinstance(problem, socket.timeout):
            raise Failed(f"the server neither answers nor disconnects after {name}") from None
        return
    finally:
        reset(sock)


def serve_with_tls(setup, *options):
    setup.needs("openssl")
    directory = make_certificates(setup.path("x509"))
    server = setup.serve("--tls-certificates", directory, *options)
    context = make_context(directory)

    def connect(address=None):
        return open_connection(address or server.unix).start_tls(context).go(b"xvdb")
    return server, directory, connect


@case()
def malformed_tls_handshakes(setup):
    server, directory, connect = serve_with_tls(setup)
    resources = server.count_resources(connect)
    starts = malformed_starts(directory, random.Random(setup.seed))
    for number, (name, data) in enumerate(starts.items()):
        sock = open_socket(server.tcp if number % 2 else server.unix)
        sock.sendall(FLAGS + START_TLS)
        receive_start_tls(sock)
        try:
            finish(sock, data, name)
            server.expect_alive()
        except Failed as problem:
            raise Failed(f"seed {setup.seed}, {name}: {problem}; the bytes: {data[:1000].hex()}") from problem
    connect().require_alive()
    connect(server.tcp).require_alive()
    server.expect_resources(resources)
    return f"{len(starts)} handshakes, seed {setup.seed}"


@case()
def plaintext_injected_before_tls(setup):
    """Options in the same segment as NBD_OPT_STARTTLS must not be answered inside TLS."""
    server, directory, connect = serve_with_tls(setup)
    sock = open_socket(server.unix)
    sock.sendall(FLAGS + START_TLS + OPTION_MAGIC + struct.pack(">II", LIST, 0))
    try:
        receive_start_tls(sock)
        tls = TlsSocket(sock, make_context(directory)).handshake()
        tls.settimeout(1)
        got = tls.recv(4096)
    except (OSError, ssl.SSLError):
        got = b""
    expect(not got, f"a plaintext option was answered inside TLS: {got[:32].hex()}")
    sock.close()
    connect().require_alive()
    with open_connection(server.unix) as client:  # plaintext is refused
        kind, _ = client.option(LIST)
        expect(kind == 0x80000005, f"reply {kind:#x} to a plaintext option instead of ERR_TLS_REQD")
    return "not answered"


def damaged_connections(source):
    """Returns what a client may send as ciphertext after the handshake: functions that change the
    bytes of valid records."""
    def flip(data):
        data = bytearray(data)
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        return bytes(data)
    return {
        "plaintext": lambda data: request(READ, 0, 4096),
        "a record cut short": lambda data: data[:-5],
        "a record twice": lambda data: data + data,
        "a record of 65535 bytes": lambda data: record(APPLICATION_DATA, bytes(65535), 0x0303),
        "an empty record": lambda data: record(APPLICATION_DATA, b"", 0x0303),
        "a plaintext alert": lambda data: record(ALERT, b"\2\x28", 0x0303),
        "a plaintext ClientHello": lambda data: record(HANDSHAKE, b"\1\0\0\x2b\3\3" + bytes(41), 0x0303),
        "records of an unknown type": lambda data: record(99, bytes(100), 0x0303) * 100,
        "random bytes": lambda data: source.randbytes(5000),
        **{f"a flipped bit {number}": flip for number in range(20)}}


@case()
def damaged_tls_connections(setup):
    server, directory, connect = serve_with_tls(setup)
    resources = server.count_resources(connect)
    count = 0
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = make_context(directory, version)
        for name, damage in damaged_connections(random.Random(setup.seed)).items():
            client = open_connection(server.tcp if count % 2 else server.unix).start_tls(context).go(b"xvdb")
            client.require_alive()
            tls = client.socket
            tls.tls.write(request(READ, 0, 65536))
            try:
                finish(tls.raw, damage(tls.outgoing.read()), name)
            except Failed as problem:
                raise Failed(f"seed {setup.seed}, {version.name}, {name}: {problem}") from problem
            server.expect_alive()
            count += 1
    connect().require_alive()
    server.expect_resources(resources)
    return f"{count} connections, seed {setup.seed}"


@case()
def tls_clients_that_vanish(setup):
    """Clients disconnect in each phase of the TLS handshake, and with requests in flight."""
    server, directory, connect = serve_with_tls(setup)
    resources = server.count_resources(connect)
    hello = client_hello(directory)
    for number in range(200):
        sock = open_socket(server.tcp if number % 2 else server.unix)
        sock.sendall(FLAGS + START_TLS)
        if number % 3:
            receive_start_tls(sock)
            sock.sendall(hello)
        if number % 3 == 2:
            sock.recv(1 + number)
        reset(sock)
    for number in range(30):
        client = connect(server.tcp if number % 2 else None)
        client.send(b"".join(request(READ, n * 65536, 65536, cookie=n) for n in range(number)))
        reset(client.socket.raw)
    began = time.monotonic()
    connect().require_alive()
    expect(time.monotonic() - began < 5, "a new client waits too long")
    server.expect_resources(resources)
    return "230 clients"


@case()
def tls_turned_on_twice(setup):
    """NBD_OPT_STARTTLS inside TLS is an error, and the connection continues."""
    _, _, connect = serve_with_tls(setup)
    server = setup.server
    client = open_connection(server.unix).start_tls(make_context(setup.path("x509")))
    try:
        kind, _ = client.option(STARTTLS)
        expect(kind != ACK, "NBD_OPT_STARTTLS was acknowledged inside TLS")
        client.go(b"xvdb").require_alive()
    except Wrong as problem:
        raise Failed(str(problem)) from problem
    client.socket.raw.close()
    connect().require_alive()
    return "refused"
