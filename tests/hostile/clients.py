"""Clients for the hostile-client tests: mute sockets, clients in each stage of the protocol, clients with
TLS, and a few credentials. Every wait has a timeout."""

import os
import select
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
# pylint: disable=unused-import,wrong-import-position
from nbd_conformance import (  # noqa: E402,F401
    ABORT, ACK, DISC, EXPORT_NAME, FLUSH, GO, INFO, LIST, OPTION_MAGIC, READ, REQUEST, STARTTLS,
    STRUCTURED_REPLY, TRIM, WRITE, ZEROES, Connection, Wrong, info_data, request)
from tls_socket import TlsSocket, make_context  # noqa: E402,F401

FLAGS = struct.pack(">I", 3)
START_TLS = OPTION_MAGIC + struct.pack(">II", STARTTLS, 0)


def connect_socket(address, timeout=5):
    """Returns a connected socket. Raises BlockingIOError if the backlog of a Unix socket is full."""
    if address.startswith("unix:"):
        out, endpoint = socket.socket(socket.AF_UNIX), address[5:]
    else:
        host, port = address[4:].rsplit(":", 1)
        out, endpoint = socket.socket(socket.AF_INET), (host, int(port))
    out.settimeout(timeout)
    try:
        out.connect(endpoint)
    except OSError:
        out.close()
        raise
    return out


def wait_for_backlog(connect, timeout):
    """Calls `connect` until the backlog has room, as a blocking connect to a Unix socket does."""
    end = time.monotonic() + timeout
    while True:
        try:
            return connect()
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def open_socket(address, timeout=5):
    """Returns a connected socket that has neither sent nor received anything."""
    return wait_for_backlog(lambda: connect_socket(address, timeout), timeout)


def open_connection(address, timeout=10):
    """Returns a client that has received the greeting and sent its flags."""
    return wait_for_backlog(lambda: Connection(address, timeout=timeout), timeout)


def reset(sock):
    """Disconnects as a crashed client would."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Crowd:
    """Sockets that stay open without saying anything. Opens further ones as the server closes
    them, so that the number stays the same while refill() is called."""

    def __init__(self, address, size, greet=None):
        self.address, self.size, self.greet = address, size, greet
        self.sockets = []
        self.opened = 0

    def __enter__(self):
        self.refill()
        return self

    def __exit__(self, *_):
        for sock in self.sockets:
            sock.close()

    def refill(self):
        poller = select.poll()
        by_number = {sock.fileno(): sock for sock in self.sockets}
        for number in by_number:
            poller.register(number, select.POLLIN)
        for number, _ in poller.poll(0):
            if is_closed(by_number[number]):
                by_number.pop(number).close()
        self.sockets = list(by_number.values())
        missing = self.size - len(self.sockets)
        for _ in range(missing if not self.opened else min(missing, 20)):
            try:
                sock = connect_socket(self.address, 2)
            except OSError:  # the backlog is full: that is as hostile as it gets
                break
            self.opened += 1
            self.sockets.append(sock)
            if self.greet:
                try:
                    self.greet(sock)
                except OSError:
                    pass  # refill() replaces it


def is_closed(sock):
    """Reads what has arrived, without waiting. Returns whether the peer has disconnected."""
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    if not poller.poll(0):
        return False
    try:
        return not sock.recv(65536)
    except OSError:
        return True


def time_to_close(socks, seconds):
    """Waits until the server has closed each of the sockets, given as a dictionary. Returns the
    time that each took; those that are still open are missing."""
    began, out, left = time.monotonic(), {}, dict(socks)
    while left and time.monotonic() - began < seconds:
        select.select(list(left.values()), [], [], 0.1)
        for name, sock in list(left.items()):
            if is_closed(sock):
                out[name] = time.monotonic() - began
                del left[name]
        time.sleep(0.02)
    return out


# Stages in which a client can fall silent. Each function takes a connected socket.


def say_nothing(_):
    pass


def stop_in_flags(sock):
    sock.sendall(FLAGS[:2])


def stop_after_flags(sock):
    sock.sendall(FLAGS)


def stop_in_option_header(sock):
    sock.sendall(FLAGS + OPTION_MAGIC + b"\0\0")


def stop_in_option_data(sock):
    sock.sendall(FLAGS + OPTION_MAGIC + struct.pack(">II", GO, 100) + bytes(50))


def stop_after_option(sock):
    sock.sendall(FLAGS + OPTION_MAGIC + struct.pack(">II", LIST, 0))


def stop_after_start_tls(sock):
    sock.sendall(FLAGS + START_TLS)


def stop_in_client_hello(sock):
    sock.sendall(FLAGS + START_TLS)
    receive_start_tls(sock)
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))


def receive_start_tls(sock):
    """Receives the greeting and the reply to NBD_OPT_STARTTLS."""
    size = 18 + 20
    while size:
        data = sock.recv(size)
        if not data:
            raise ConnectionResetError("disconnected before TLS")
        size -= len(data)


HANDSHAKE_STAGES = {"after connecting": say_nothing, "inside the flags": stop_in_flags,
                    "after the flags": stop_after_flags,
                    "inside an option's header": stop_in_option_header,
                    "inside an option's data": stop_in_option_data,
                    "after an option": stop_after_option}
TLS_STAGES = {"before the ClientHello": stop_after_start_tls,
              "inside the ClientHello": stop_in_client_hello}


# Credentials.


def make_certificates(directory, key="ec"):
    """Creates server-cert.pem, server-key.pem and ca-cert.pem for localhost with openssl."""
    os.makedirs(directory)
    kind = ["rsa:4096"] if key == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", "server-key.pem", "-out", "server-cert.pem"],
        cwd=directory, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(directory, "server-cert.pem"), "rb") as source, \
            open(os.path.join(directory, "ca-cert.pem"), "wb") as copy:
        copy.write(source.read())
    return directory


def make_keys(path):
    """Creates a file with a pre-shared key for the user alice."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(f"alice:{os.urandom(16).hex()}\n")
    return path


def try_nbdinfo(uri, seconds=10):
    """Asks for the export's size with nbdinfo. Returns (success, seconds, error text)."""
    began = time.monotonic()
    try:
        done = subprocess.run(["nbdinfo", "--size", uri], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=seconds, check=False)
        good, text = done.returncode == 0, done.stderr.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        good, text = False, f"no answer within {seconds} s"
    return good, time.monotonic() - began, text
