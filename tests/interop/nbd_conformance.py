#!/usr/bin/env python3
"""Checks an NBD server against the requirements and warnings of the protocol document.

Usage: nbd_conformance.py (unix:PATH | tcp:HOST:PORT) EXPORT [--read-only] [--no-flush]
                          [--deadline SECONDS] [--only PART]
                          [--tls MODE] [--tls-certificates DIR]

EXPORT IS OVERWRITTEN unless it is read-only. EXPORT must be at least 64 MiB in size. --read-only
and --no-flush specify expected properties of the export. --deadline checks that the server drops a
client that does not complete its handshake within SECONDS. With --tls-certificates, all connections
use TLS; DIR contains ca-cert.pem and, if the server requires it, a client certificate. --tls
specifies the server's expected mode (off, on or require) and adds checks for this mode. Prints "ok
NAME: detail" or "FAIL NAME: detail" for each check, and then the totals. Exit status 1 means that a
check failed. Needs only Python.
"""

import argparse
import collections
import os
import socket
import ssl
import struct
import sys
import time

from tls_socket import TlsSocket, make_context

MIB = 1 << 20
OPTION_MAGIC, REPLY_MAGIC = b"IHAVEOPT", 0x0003E889045565A9
REQUEST, SIMPLE, STRUCTURED = 0x25609513, 0x67446698, 0x668E33EF
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY = 1, 2, 3, 5, 6, 7, 8
LIST_CONTEXTS, SET_CONTEXTS = 9, 10
ACK, SERVER, REP_INFO = 1, 2, 3
UNSUP, POLICY, INVALID, TLS_REQD, UNKNOWN = (0x80000000 + n for n in (1, 2, 3, 5, 6))
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
F_READ_ONLY, F_FLUSH, F_FUA, F_TRIM, F_ZEROES, F_DF, F_CACHE, F_FAST = 2, 4, 8, 32, 64, 128, 1024, 2048
EPERM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 22, 28, 75, 95
ERRORS = {0: "success", 1: "EPERM", 5: "EIO", 12: "ENOMEM", 22: "EINVAL", 28: "ENOSPC",
          75: "EOVERFLOW", 95: "ENOTSUP", 108: "ESHUTDOWN"}
REPLIES = {ACK: "ACK", SERVER: "SERVER", REP_INFO: "INFO", UNSUP: "ERR_UNSUP", POLICY: "ERR_POLICY",
           INVALID: "ERR_INVALID", TLS_REQD: "ERR_TLS_REQD", UNKNOWN: "ERR_UNKNOWN"}


class Wrong(Exception):
    """The server violated the protocol."""


def require(condition, text):
    if not condition:
        raise Wrong(text)


def error_name(value):
    return ERRORS.get(value, f"undefined error {value}")


def require_error(got, *allowed):
    require(got in allowed, f"{error_name(got)} instead of "
            + " or ".join(error_name(error) for error in allowed))
    return error_name(got)


def info_data(name, types=()):
    return struct.pack(f">I{len(name)}sH{len(types)}H", len(name), name, len(types), *types)


def context_data(name, queries=()):
    return struct.pack(f">I{len(name)}sI", len(name), name, len(queries)) + b"".join(
        struct.pack(">I", len(query)) + query for query in queries)


def request(command, offset=0, length=0, flags=0, cookie=1, data=b""):
    return struct.pack(">IHHQQI", REQUEST, flags, command, cookie, offset, length) + data


class Connection:
    """A connection that the check drives step by step. Every wait has a timeout."""

    def __init__(self, address, flags=3, timeout=10):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            endpoint = address[5:]
        else:
            host, port = address.split(":", 1)[1].rsplit(":", 1)
            endpoint = (host.strip("[]"), int(port))
            self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(endpoint)
        self.structured = False
        self.greeting = self.receive(18)
        if flags is not None:
            self.send(struct.pack(">I", flags))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def start_tls(self, context):
        kind, _ = self.option(STARTTLS)
        require(kind == ACK, f"{REPLIES.get(kind, hex(kind))} to NBD_OPT_STARTTLS")
        self.socket = TlsSocket(self.socket, context).handshake()
        return self

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, size):
        parts = []
        while size:
            part = self.socket.recv(min(size, MIB))
            require(part, f"the server disconnected with {size} bytes missing")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def require_end(self, why):
        """Expects the server to disconnect without sending anything."""
        try:
            got = self.socket.recv(4096)
        except ConnectionResetError:
            return
        except socket.timeout:
            raise Wrong(f"still connected {why}") from None
        require(not got, f"received {len(got)} bytes {why}: {got[:32].hex()}")

    def reset(self):
        """Disconnects as a crashed client would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Options.

    def send_option(self, option, data=b""):
        self.send(OPTION_MAGIC + struct.pack(">II", option, len(data)) + data)

    def receive_reply(self, option):
        magic, to, kind, length = struct.unpack(">QIII", self.receive(20))
        require(magic == REPLY_MAGIC, f"wrong reply magic {magic:#x}")
        require(to == option, f"a reply to option {to} instead of {option}")
        require(length < 4096, f"a reply of {length} bytes, which nbd-client cannot read")
        data = self.receive(length)
        if kind & 0x80000000:
            require(length < 1024, f"an error message of {length} bytes")
            data.decode("utf-8")
        return kind, data

    def option(self, option, data=b""):
        """Returns the final reply's type, and a list of the earlier replies as (type, data)."""
        self.send_option(option, data)
        before = []
        while True:
            kind, data = self.receive_reply(option)
            if kind == ACK or kind & 0x80000000:
                return kind, before
            before.append((kind, data))

    def require_reply(self, option, data, *allowed):
        kind, before = self.option(option, data)
        require(kind in allowed, f"{REPLIES.get(kind, hex(kind))} instead of "
                + " or ".join(REPLIES[reply] for reply in allowed))
        return before, REPLIES[kind]

    def require_in_step(self):
        kind, _ = self.option(ABORT)
        require(kind == ACK, "the next option was not acknowledged")

    def go(self, name, structured=False):
        if structured:
            self.require_reply(STRUCTURED_REPLY, b"", ACK)
            self.structured = True
        before, _ = self.require_reply(GO, info_data(name, (3,)), ACK)
        return self.take_infos(before)

    def take_infos(self, before):
        self.size, self.flags, self.block = None, 0, (1, 4096, 32 * MIB)
        for kind, data in before:
            require(kind == REP_INFO, f"an unexpected reply of type {kind} before the ACK")
            info, = struct.unpack(">H", data[:2])
            if info == 0:
                self.size, self.flags = struct.unpack(">QH", data[2:])
            elif info == 3:
                self.block = struct.unpack(">III", data[2:])
        require(self.size is not None, "no NBD_INFO_EXPORT")
        return self

    # Requests.

    def receive_answer(self, reading=0):
        """Returns the next reply as (error, cookie, data). On success, data has `reading` bytes."""
        magic, = struct.unpack(">I", self.receive(4))
        if magic == SIMPLE:
            require(not (self.structured and reading), "a simple reply to a structured READ")
            error, cookie = struct.unpack(">IQ", self.receive(12))
            return error, cookie, self.receive(reading) if not error else b""
        require(magic == STRUCTURED and self.structured, f"wrong reply magic {magic:#x}")
        return self.receive_chunks(reading)

    def receive_chunks(self, reading):
        error, data, self.chunks = 0, {}, 0
        while True:
            flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
            body = self.receive(length)
            if kind == 1:
                self.chunks += 1
                data[struct.unpack(">Q", body[:8])[0]] = body[8:]
            elif kind == 2:
                self.chunks += 1
                offset, hole = struct.unpack(">QI", body)
                data[offset] = bytes(hole)
            elif kind & 0x8000:
                error, size = struct.unpack(">IH", body[:6])
                require(error and 6 + size <= length <= 4096 + 14, "a malformed error chunk")
                body[6:6 + size].decode("utf-8")
            else:
                require(kind == 0, f"a chunk of type {kind}")
            if flags & 1:
                break
            magic, = struct.unpack(">I", self.receive(4))
            require(magic == STRUCTURED, "a chunk without magic")
        whole = b"".join(data[offset] for offset in sorted(data))
        require(error or len(whole) == reading, f"{len(whole)} bytes instead of {reading}")
        return error, cookie, whole

    def ask(self, command, offset=0, length=0, flags=0, data=b"", cookie=0x0123456789ABCDEF):
        self.send(request(command, offset, length, flags, cookie, data))
        error, echoed, got = self.receive_answer(length if command == READ else 0)
        require(echoed == cookie, f"cookie {echoed:#x} instead of {cookie:#x}")
        require(error in ERRORS, error_name(error))
        return error, got

    def error_of(self, command, offset=0, length=0, flags=0, data=b""):
        return self.ask(command, offset, length, flags, data)[0]

    def read(self, offset, length):
        error, data = self.ask(READ, offset, length)
        require(not error, f"reading {length} bytes at {offset}: {error_name(error)}")
        return data

    def write(self, offset, data, flags=0):
        error = self.error_of(WRITE, offset, len(data), flags, data)
        require(not error, f"writing {len(data)} bytes at {offset}: {error_name(error)}")

    def require_alive(self):
        self.read(0, 4096)


CHECKS = collections.OrderedDict()


def check(function):
    CHECKS[function.__name__] = function
    return function


class Target:
    def __init__(self, options):
        self.address = options.address
        self.name = options.export.encode()
        self.options = options
        self.tls = make_context(options.tls_certificates) if options.tls_certificates else None

    def connect(self, flags=3, timeout=10, plain=False):
        """Uses TLS if configured, except with flags that the server must reject."""
        c = Connection(self.address, flags, timeout)
        if self.tls and not plain and flags in (1, 3):
            c.start_tls(self.tls)
        return c

    def open(self, structured=False):
        return self.connect().go(self.name, structured)

    def writable(self):
        return not self.options.read_only

    def require_alive(self):
        with self.open() as c:
            c.require_alive()


# Handshake.

# "Newstyle negotiation": both magic numbers and only known flags.
@check
def greeting(t):
    with t.connect() as c:
        magic, option, flags = struct.unpack(">8s8sH", c.greeting)
        require((magic, option) == (b"NBDMAGIC", OPTION_MAGIC), "wrong magic")
        require(flags == 3, f"handshake flags {flags:#x}")


# "Client flags": the server MUST drop the connection if the client sets an unknown flag.
@check
def unknown_client_flag_is_dropped(t):
    for flags in (7, 0x80000003):
        with t.connect(flags=flags) as c:
            try:
                c.send_option(LIST)
            except (BrokenPipeError, ConnectionResetError):
                continue
            c.require_end(f"with client flags {flags:#x}")


# "Client flags": a client without C_FIXED_NEWSTYLE may use only EXPORT_NAME. The server need not
# answer other options.
@check
def no_fixed_newstyle_then_list(t):
    with t.connect(flags=0) as c:
        c.send_option(LIST)
        try:
            kind, _ = c.receive_reply(LIST)
            return REPLIES.get(kind, hex(kind))
        except (Wrong, ConnectionResetError):
            return "dropped"


def read_export_name(t, flags, zeroes):
    with t.connect(flags=flags) as c:
        c.send_option(EXPORT_NAME, t.name)
        size, eflags = struct.unpack(">QH", c.receive(10))
        require(c.receive(zeroes) == bytes(zeroes), "nonzero padding")
        c.require_alive()
        return size, eflags


# "NBD_OPT_EXPORT_NAME": the reply ends with 124 zeroes unless NO_ZEROES was negotiated.
@check
def export_name_with_124_zeroes(t):
    size, flags = read_export_name(t, 1, 124)
    return f"size {size}, flags {flags:#x}"


# "NBD_OPT_EXPORT_NAME": the reply has no zeroes if NO_ZEROES was negotiated.
@check
def export_name_without_zeroes(t):
    require(read_export_name(t, 3, 0) == read_export_name(t, 1, 124), "the result differs from the result with zeroes")


# "NBD_OPT_EXPORT_NAME": the server MUST disconnect if the export is unknown, because the option has
# no error reply.
@check
def export_name_unknown_is_closed(t):
    with t.connect() as c:
        c.send_option(EXPORT_NAME, b"no such export \xe2\x82\xac")
        c.require_end("after an unknown export name")


# "NBD_OPT_ABORT": ACK with any data, then disconnect.
@check
def abort_is_acknowledged(t):
    for data in (b"", b"data to ignore"):
        with t.connect() as c:
            c.require_reply(ABORT, data, ACK)
            c.require_end("after NBD_OPT_ABORT")


# "NBD_OPT_ABORT": the client may disconnect before the ACK.
@check
def disconnect_after_abort_is_harmless(t):
    for _ in range(20):
        c = t.connect()
        c.send_option(ABORT)
        c.reset()
    t.require_alive()


# "NBD_OPT_LIST": a SERVER reply for each export, or ERR_POLICY.
@check
def list_names_the_export(t):
    with t.connect() as c:
        before, kind = c.require_reply(LIST, b"", ACK, POLICY)
        names = []
        for reply, data in before:
            length, = struct.unpack(">I", data[:4])
            require(reply == SERVER and 4 + length <= len(data), "a malformed NBD_REP_SERVER")
            require(length < 1024 and len(data) - 4 - length < 1024, "too long for nbd-client")
            names.append(data[4:4 + length])
        require(kind != "ACK" or t.name in names, f"{names}")
        c.require_in_step()
        return f"{kind}, {len(names)} exports"


# The document does not require this, but clients rely on it.
@check
def replies_come_in_one_piece(t):
    # nbd-client -l calls read once for the header and once for the data, without handling short
    # reads.
    with t.connect() as c:
        c.send_option(LIST)
        first = c.socket.recv(4096)
        require(len(first) >= 20, f"only {len(first)} bytes of the header")
        length, = struct.unpack(">I", first[16:20])
        require(len(first) >= 20 + length, f"the header and {len(first) - 20} of {length} bytes")


# "NBD_OPT_LIST", "NBD_OPT_STARTTLS", "NBD_OPT_STRUCTURED_REPLY": ERR_INVALID if the option has
# data.
@check
def data_with_options_that_take_none(t):
    for option in (LIST, STARTTLS, STRUCTURED_REPLY):
        with t.connect() as c:
            allowed = (INVALID,) if option != STARTTLS else (INVALID, POLICY, UNSUP)
            if option == STRUCTURED_REPLY:
                allowed = (INVALID, UNSUP)
            c.require_reply(option, b"x" * 13, *allowed)
            c.require_in_step()


# "Baseline": the server skips an unknown option, replies with ERR_UNSUP, and MUST parse the next
# option.
@check
def unknown_option(t):
    for data in (b"", b"x", OPTION_MAGIC * 512):
        with t.connect() as c:
            for option in (4, 0x7FFFFFFF, 0xFFFFFFFF):
                c.require_reply(option, data, UNSUP)
            c.require_in_step()


# "NBD_OPT_INFO", "NBD_OPT_GO": ERR_INVALID for inconsistent lengths; "Conventions": ERR_INVALID for
# a string of more than 4096 bytes.
@check
def info_and_go_malformed(t):
    good = info_data(t.name, (3,))
    broken = {"no data": b"", "3 bytes": b"abc", "5 bytes": bytes(5), "one byte over": good + b"x",
              "one byte short": good[:-1], "wrong name length": struct.pack(">I", 1 << 31) + good[4:],
              "too many types": good[:-4] + struct.pack(">HH", 2, 3),
              "name of 4097 bytes": info_data(b"x" * 4097)}
    for option in (INFO, GO):
        for defect, data in broken.items():
            with t.connect(timeout=5) as c:
                try:
                    c.require_reply(option, data, INVALID)
                    c.require_in_step()
                except (Wrong, socket.timeout) as e:
                    raise Wrong(f"option {option}, {defect}: {e or 'no answer'}") from None


# "Conventions": strings are UTF-8 without NUL; invalid strings must not break the stream.
@check
def names_that_are_not_utf8(t):
    with t.connect() as c:
        for name in (b"\xff\xfe", t.name + b"\0", b"\0", b"\xed\xa0\x80", b"\xc0\xaf"):
            for option in (INFO, GO):
                c.require_reply(option, info_data(name), INVALID, UNKNOWN)
        c.require_in_step()


# "Conventions": the server's strings are UTF-8; NBD_INFO_NAME is the export's name.
@check
def texts_are_utf8(t):
    with t.connect() as c:
        before, _ = c.require_reply(INFO, info_data(t.name, (1, 2)), ACK)
        texts = {struct.unpack(">H", data[:2])[0]: data[2:].decode("utf-8") for _, data in before
                 if struct.unpack(">H", data[:2])[0] in (1, 2)}
        require(all("\0" not in text for text in texts.values()), f"{texts}")
        require(1 not in texts or texts[1].encode() == t.name, f"{texts}")
        c.require_in_step()
        return "; ".join(texts.values())


# "NBD_OPT_GO": negotiation continues after ERR_UNKNOWN.
@check
def go_unknown_then_known(t):
    with t.connect() as c:
        for name in (b"no such export", b"x" * 4096):
            for option in (INFO, GO):
                c.require_reply(option, info_data(name), UNKNOWN)
        c.go(t.name)
        c.require_alive()


# "NBD_OPT_INFO": GO with the same parameters returns the same data.
@check
def info_matches_go(t):
    size, flags = read_export_name(t, 3, 0)
    with t.connect() as c:
        data = info_data(t.name, (1, 2, 3))
        first, _ = c.require_reply(INFO, data, ACK)
        second, _ = c.require_reply(GO, data, ACK)
        require(first == second, "INFO and GO differ")
        c.take_infos(second)
        require((c.size, c.flags) == (size, flags), f"size {c.size}, flags {c.flags:#x} instead of "
                f"EXPORT_NAME's {size}, {flags:#x}")
        return f"size {c.size}, flags {c.flags:#x}, blocks {c.block}"


# "NBD_OPT_GO": the server always sends INFO_EXPORT, ignores unknown types, and must not require
# clients to request INFO_BLOCK_SIZE: nbd-client does not request any type.
@check
def info_types_unknown_or_none(t):
    with t.connect() as c:
        for types in ((), (0,), (4, 999, 65535), (3, 3, 3)):
            before, _ = c.require_reply(INFO, info_data(t.name, types), ACK)
            c.take_infos(before)
        before, _ = c.require_reply(GO, info_data(t.name), ACK)
        c.take_infos(before).require_alive()


# "NBD_OPT_GO": no zeroes after the ACK, regardless of the flags.
@check
def go_is_not_padded(t):
    with t.connect(flags=1) as c:
        c.go(t.name)
        c.require_alive()


# "Size constraints": block sizes are powers of two within bounds, and the export size is a multiple
# of the minimum.
@check
def block_sizes_are_sane(t):
    with t.open() as c:
        least, preferred, most = c.block
        require(least & (least - 1) == 0 and 1 <= least <= 65536, f"minimum {least}")
        require(preferred & (preferred - 1) == 0 and preferred >= max(least, 512),
                f"preferred {preferred}")
        require(most >= preferred and (most % least == 0 or most == 0xFFFFFFFF), f"maximum {most}")
        require(c.size % least == 0, f"size {c.size} is not a multiple of {least}")


# "Termination of the session during option haggling": the server may disconnect to prevent a denial
# of service.
@check
def option_of_4_gib_is_dropped(t):
    with t.connect(timeout=5) as c:
        c.send(OPTION_MAGIC + struct.pack(">II", GO, 0xFFFFFFFF))
        c.require_end("after an option of 4 GiB was announced")


# "Termination of the session during option haggling": the server may disconnect on a protocol
# violation.
@check
def option_without_magic_is_dropped(t):
    with t.connect(timeout=5) as c:
        c.send(b"IHAVEOPS" + struct.pack(">II", LIST, 0))
        c.require_end("after a wrong option magic")


# "Termination of the session during option haggling": the server may limit the number of options,
# but the limit must not affect ordinary clients.
@check
def options_are_bounded(t):
    with t.connect() as c:
        for count in range(20000):
            try:
                kind, _ = c.option(99)
            except (Wrong, ConnectionResetError, BrokenPipeError):
                least = 31 if t.tls else 32  # NBD_OPT_STARTTLS also counts
                require(count >= least, f"dropped after only {count} options")
                return f"{count} accepted"
            require(kind == UNSUP, hex(kind))
        raise Wrong("20000 options were accepted")


# "NBD_OPT_STARTTLS": a server without TLS replies with ERR_POLICY or ERR_UNSUP, and negotiation
# continues.
@check
def starttls(t):
    with t.connect() as c:
        allowed = (INVALID,) if t.tls else (ACK, POLICY, UNSUP)
        _, kind = c.require_reply(STARTTLS, b"", *allowed)
        if kind != "ACK":
            c.require_in_step()
        return kind


# "NBD_OPT_STRUCTURED_REPLY": a second request succeeds or gets ERR_INVALID.
@check
def structured_reply_twice(t):
    with t.connect() as c:
        _, kind = c.require_reply(STRUCTURED_REPLY, b"", ACK)
        _, kind = c.require_reply(STRUCTURED_REPLY, b"", ACK, INVALID)
        c.require_in_step()
        return kind


# "NBD_OPT_LIST_META_CONTEXT", "NBD_OPT_SET_META_CONTEXT": ERR_UNSUP if the server does not support
# metadata contexts; otherwise structured replies are required. Offered contexts are not checked.
@check
def metadata_contexts(t):
    replies = set()
    with t.connect() as c:
        data = context_data(t.name, (b"base:allocation",))
        replies.add(c.require_reply(LIST_CONTEXTS, data, UNSUP, INVALID, ACK)[1])
        replies.add(c.require_reply(SET_CONTEXTS, data, UNSUP, INVALID)[1])
        c.require_reply(STRUCTURED_REPLY, b"", ACK)
        for option in (LIST_CONTEXTS, SET_CONTEXTS):
            replies.add(c.require_reply(option, data, UNSUP, ACK)[1])
        c.require_in_step()
    return ", ".join(sorted(replies))


# A stream has no message boundaries: the server must handle a handshake that arrives byte by byte.
@check
def handshake_byte_by_byte(t):
    with t.connect(flags=3 if t.tls else None) as c:
        data = info_data(t.name, (3,))
        flags = b"" if t.tls else struct.pack(">I", 3)
        for byte in flags + OPTION_MAGIC + struct.pack(">II", GO, len(data)) + data:
            c.send(bytes((byte,)))
        while c.receive_reply(GO)[0] != ACK:
            pass
        for byte in request(READ, 0, 512):
            c.send(bytes((byte,)))
        require(c.receive_answer(512)[0] == 0, "the first READ failed")


# A stream has no message boundaries: the server must not lose a request that arrives together with
# an option.
@check
def request_right_behind_go(t):
    with t.connect() as c:
        data = info_data(t.name)
        c.send(OPTION_MAGIC + struct.pack(">II", GO, len(data)) + data + request(READ, 0, 512))
        while c.receive_reply(GO)[0] != ACK:
            pass
        require(c.receive_answer(512)[0] == 0, "the READ failed")


# A client that stops during its handshake must not block other clients.
@check
def silent_clients_do_not_block_others(t):
    idle = [t.connect(flags=None) for _ in range(3)]
    t.require_alive()
    for c in idle:
        c.reset()


# Transmission: errors.

def outside(size):
    return ((size, 512), (size - 512, 1024), (2 ** 64 - 512, 512), (2 ** 64 - 512, 1024),
            (2 ** 63, 512))


def check_outside(t, command, flag, *expected):
    with t.open() as c:
        if flag and not c.flags & flag:
            return "not offered"
        for offset, length in outside(c.size):
            data = bytes(length) if command == WRITE else b""
            got = c.error_of(command, offset, length, 0, data)
            require_error(got, *expected)
        c.require_alive()
        return error_name(expected[0])


# "Error values": EINVAL beyond the end, even if offset plus length overflows.
@check
def read_outside(t):
    return check_outside(t, READ, 0, EINVAL)


# "Error values": ENOSPC for writes that would grow the export; EPERM on a read-only export.
@check
def write_outside(t):
    return check_outside(t, WRITE, 0, ENOSPC if t.writable() else EPERM)


# "Error values": the same errors as for WRITE.
@check
def write_zeroes_outside(t):
    return check_outside(t, ZEROES, F_ZEROES, ENOSPC if t.writable() else EPERM)


# "Error values": EINVAL, because a trim does not grow the export.
@check
def trim_outside(t):
    return check_outside(t, TRIM, F_TRIM, EINVAL if t.writable() else EPERM)


# "Error values": EINVAL for a CACHE beyond the end.
@check
def cache_outside(t):
    return check_outside(t, CACHE, F_CACHE, EINVAL)


# "Request types": a length of 0 is unspecified, but SHOULD NOT end the connection.
@check
def zero_length_keeps_the_connection(t):
    errors = []
    with t.open() as c:
        for command in (READ, WRITE, TRIM, ZEROES, STATUS):
            errors.append(error_name(c.error_of(command)))
        c.require_alive()
    return "READ, WRITE, TRIM, WRITE_ZEROES, BLOCK_STATUS: " + ", ".join(errors)


# "Command flags": EINVAL for an unknown flag.
@check
def unknown_flags(t):
    with t.open() as c:
        for flags in (0x20, 0x8000):
            for command, data in ((READ, b""), (WRITE, bytes(512)), (FLUSH, b"")):
                got = c.error_of(command, 0, 512 if command != FLUSH else 0, flags, data)
                allowed = (EINVAL,) if command != WRITE or t.writable() else (EINVAL, EPERM)
                require_error(got, *allowed)
        c.require_alive()


# "Command flags": EINVAL for a flag that belongs to a different command; DF requires structured
# replies.
@check
def flags_of_other_commands(t):
    with t.open() as c:
        for flags in (NO_HOLE, DF, REQ_ONE, FAST_ZERO):
            require_error(c.error_of(READ, 0, 512, flags), EINVAL)
        c.require_alive()


# "Request types": EINVAL for an unknown command.
@check
def unknown_commands(t):
    with t.open() as c:
        for command in (8, 100, 65535):
            require_error(c.error_of(command, 0, 512), EINVAL)
        c.require_alive()


# "NBD_CMD_BLOCK_STATUS": EINVAL unless a context was selected.
@check
def block_status_without_contexts(t):
    for structured in (False, True):
        with t.open(structured) as c:
            require_error(c.error_of(STATUS, 0, 512), EINVAL)
            c.require_alive()


# "Command flags": FUA is valid with every command if SEND_FUA is offered.
@check
def fua_is_taken_with_everything(t):
    with t.open() as c:
        if not c.flags & F_FUA:
            require_error(c.error_of(READ, 0, 512, FUA), EINVAL)
            return "not offered"
        require(c.flags & F_FLUSH, "FUA without FLUSH")
        require_error(c.error_of(READ, 0, 512, FUA), 0)
        require_error(c.error_of(FLUSH, 0, 0, FUA), 0)
        if c.flags & F_CACHE:
            require_error(c.error_of(CACHE, 0, 512, FUA), 0)
        if t.writable():
            for command, flag in ((WRITE, 0), (TRIM, F_TRIM), (ZEROES, F_ZEROES)):
                if not flag or c.flags & flag:
                    data = bytes(512) if command == WRITE else b""
                    require_error(c.error_of(command, 0, 512, FUA, data), 0)
        c.require_alive()


# "Transmission flags": FLUSH and FUA are offered only if they are supported; "NBD_CMD_FLUSH":
# offset and length are 0, and servers may accept or reject other values.
@check
def flush(t):
    with t.open() as c:
        require(bool(c.flags & F_FLUSH) != t.options.no_flush, f"flags {c.flags:#x}")
        require_error(c.error_of(FLUSH), EINVAL if t.options.no_flush else 0)
        got = c.error_of(FLUSH, 512, 512)
        c.require_alive()
        return f"with an offset: {error_name(got)}"


# "NBD_CMD_WRITE_ZEROES": FAST_ZERO fails with ENOTSUP if zeroing would not be fast, and with EINVAL
# if the flag was not offered.
@check
def fast_zero(t):
    with t.open() as c:
        if not t.writable():
            require_error(c.error_of(ZEROES, 0, 4096, FAST_ZERO), EPERM)
            return "read-only"
        allowed = (0, ENOTSUP) if c.flags & F_FAST else (EINVAL,)
        return require_error(c.error_of(ZEROES, 0, 4096, FAST_ZERO), *allowed)


# "Transmission flags", "Error values": EPERM for all writing commands, and nothing is written.
@check
def read_only(t):
    with t.open() as c:
        require(bool(c.flags & F_READ_ONLY) == t.options.read_only, f"flags {c.flags:#x}")
        if not t.writable():
            before = c.read(0, 4096)
            require_error(c.error_of(WRITE, 0, 4096, 0, b"\xa5" * 4096), EPERM)
            require_error(c.error_of(TRIM, 0, 4096), EPERM, EINVAL)
            require_error(c.error_of(ZEROES, 0, 4096), EPERM, EINVAL)
            require(c.read(0, 4096) == before, "the data has changed")


# "Terminating the transmission phase": the server disconnects, because it cannot parse the rest of
# the stream.
@check
def bad_magic_is_dropped(t):
    with t.open() as c:
        c.socket.settimeout(5)
        c.send(b"\x25\x60\x95\x14" + request(READ, 0, 512)[4:])
        c.require_end("after a wrong request magic")


# Transmission: sizes.

# "Size constraints": EINVAL for a request that is not aligned to the minimum; any request succeeds
# if the minimum is 1.
@check
def read_unaligned_and_large(t):
    with t.open() as c:
        whole = c.read(0, 2 * MIB + 512)
        if c.block[0] > 1:
            require_error(c.error_of(READ, 1, 14), EINVAL)
            return f"minimum {c.block[0]}"
        for length in (1, MIB + 14, 2 * MIB + 14):
            require(c.read(1, length) == whole[1:1 + length], f"wrong data in {length} bytes at 1")


# "Size constraints": if the client did not request block sizes, unaligned requests may succeed or
# fail, but must not change adjacent bytes.
@check
def unaligned_by_a_client_that_knows_no_minimum(t):
    with t.connect() as c:
        c.send_option(EXPORT_NAME, t.name)
        c.receive(10)
        before = c.read(0, 4096)
        error, data = c.ask(READ, 1, 510)
        require(error == EINVAL or data == before[1:511], error_name(error))
        if not t.writable():
            return error_name(error)
        got = c.error_of(WRITE, 511, 2, 0, b"\xc3\x3c")
        require_error(got, 0, EINVAL)
        now = before if got else before[:511] + b"\xc3\x3c" + before[513:]
        require(c.read(0, 4096) == now, "adjacent bytes have changed")
        return f"READ {error_name(error)}, WRITE {error_name(got)}"


# "Size constraints": a client that did not request block sizes may read up to 32 MiB.
@check
def read_32_mib(t):
    with t.open() as c:
        c.read(0, 32 * MIB)


# "Size constraints": the server may refuse larger reads, but not by disconnecting.
@check
def read_more_than_32_mib(t):
    with t.open() as c:
        errors = [require_error(c.error_of(READ, 0, length), 0, EINVAL, EOVERFLOW)
                  for length in (33 * MIB, 48 * MIB - MIB // 2)]
        c.require_alive()
        return ", ".join(errors)


# "Error values": EOVERFLOW is meant for commands without a payload to skip.
@check
def read_4_gib(t):
    with t.open() as c:
        got = require_error(c.error_of(READ, 0, 0xFFFFFFFF), EINVAL, EOVERFLOW)
        c.require_alive()
        return got


# "Size constraints": a client that did not request block sizes may write up to 32 MiB.
@check
def write_32_mib(t):
    with t.open() as c:
        data = os.urandom(MIB) * 32
        if not t.writable():
            require_error(c.error_of(WRITE, 0, len(data), 0, data), EPERM)
            return "EPERM"
        c.write(0, data)
        require(c.read(0, len(data)) == data, "the data read back differs")


# "Size constraints": the server may refuse larger writes; it then consumes the payload or
# disconnects.
@check
def write_more_than_32_mib(t):
    with t.open() as c:
        data = bytes(32 * MIB + 4096)
        try:
            got = c.error_of(WRITE, 0, len(data), 0, data)
        except (Wrong, ConnectionResetError, BrokenPipeError):
            return "dropped"
        require_error(got, 0 if t.writable() else EPERM, EINVAL)
        c.require_alive()
        return error_name(got)


# "Size constraints": the server may refuse a write of 4 GiB, but must neither wait for the payload
# nor allocate memory for it.
@check
def write_claiming_4_gib(t):
    with t.open() as c:
        c.socket.settimeout(5)
        c.send(request(WRITE, 0, 0xFFFFFFFF))
        try:
            error, _, _ = c.receive_answer()
            return require_error(error, EINVAL, ENOSPC, EPERM, EOVERFLOW)
        except socket.timeout:
            raise Wrong("the server waits for 4 GiB") from None
        except (Wrong, ConnectionResetError):
            return "dropped"


# "Size constraints": commands without a payload have no length limit.
@check
def trim_and_zeroes_of_any_length(t):
    if not t.writable():
        return "read-only"
    with t.open() as c:
        length = min(c.size, 0xFFFFFE00)
        for command, flag in ((TRIM, F_TRIM), (ZEROES, F_ZEROES)):
            if c.flags & flag:
                require_error(c.error_of(command, 0, length), 0)
        if c.flags & F_CACHE:
            require_error(c.error_of(CACHE, 0, length), 0, EINVAL, EOVERFLOW)
        c.require_alive()


# Transmission: data.

# "Ordering of messages and writes": answered writes are visible on every connection.
@check
def written_data_is_read_back(t):
    if not t.writable():
        return "read-only"
    with t.open() as c, t.open() as other:
        expected = bytearray(os.urandom(MIB))
        c.write(0, bytes(expected))
        step = c.block[0]
        for offset, length in ((1, 1), (511, 2), (513, 510), (4095, 8194), (70001, 200003)):
            offset, length = offset // step * step, -(-length // step) * step
            piece = os.urandom(length)
            c.write(offset, piece)
            expected[offset:offset + length] = piece
        if c.flags & F_ZEROES:
            for flags in (0, NO_HOLE):
                require_error(c.error_of(ZEROES, 300 * step, 5000 * step, flags), 0)
            expected[300 * step:5300 * step] = bytes(5000 * step)
        if not t.options.no_flush:
            require_error(c.error_of(FLUSH), 0)
        require(c.read(0, MIB) == expected, "the data read back differs")
        require(other.read(0, MIB) == expected, "the data read on another connection differs")


# "NBD_CMD_WRITE": the client sends the payload even if the server refuses the write.
@check
def payload_of_refused_writes_is_not_parsed(t):
    # A server that does not consume the payload would answer these requests.
    trap = b"".join(request(READ, 0, 1, cookie=666) for _ in range(200))
    with t.open() as c:
        errors = []
        for offset, flags in ((c.size, 0), (2 ** 64 - 512, 0), (0, 0x8000)):
            errors.append(error_name(c.error_of(WRITE, offset, len(trap), flags, trap)))
            require(errors[-1] != "success", "the write was executed")
            c.require_alive()
        # A payload larger than any server reads at once.
        large = trap * 200
        require(c.error_of(WRITE, c.size - 512, len(large), 0, large), "the write was executed")
        c.require_alive()
        return ", ".join(errors)


# Structured replies.

# "Structured replies": each READ needs a structured reply; "NBD_CMD_FLAG_DF" works up to 64 KiB.
@check
def structured_reads(t):
    with t.open() as plain, t.open(True) as c:
        require(c.flags & F_DF, f"flags {c.flags:#x}")
        require(not plain.flags & F_DF, "DF without structured replies")
        require(c.read(512, 70000) == plain.read(512, 70000), "the data differs from the data in simple replies")
        error, _ = c.ask(READ, 0, 65536, DF)
        require(not error and c.chunks == 1, f"{error_name(error)}, {c.chunks} chunks with DF")
        c.error_of(READ, 0, 0)
        c.require_alive()


# "Structured replies": errors that the server detects immediately also need structured replies.
@check
def structured_errors(t):
    with t.open(True) as c:
        for offset, length in outside(c.size):
            require_error(c.error_of(READ, offset, length), EINVAL)
        require_error(c.error_of(READ, 0, 512, 0x8000), EINVAL)
        require_error(c.error_of(100), EINVAL)
        wrong = c.error_of(WRITE, c.size, 512, 0, bytes(512))
        require_error(wrong, ENOSPC if t.writable() else EPERM)
        c.require_alive()


# Requests in flight, and the end of the connection.

def answers(c, count, length=4096):
    seen = collections.Counter()
    for _ in range(count):
        error, cookie, _ = c.receive_answer(length)
        require(not error, error_name(error))
        seen[cookie] += 1
    return seen


# "Ordering of messages and writes": one reply per request, in any order.
@check
def reads_in_flight(t):
    with t.open() as c:
        c.send(b"".join(request(READ, n * 4096, 4096, cookie=n) for n in range(64)))
        seen = answers(c, 64)
        require(sorted(seen.elements()) == list(range(64)), "not every request was answered exactly once")


# "Request message": the cookie is opaque and need not be unique.
@check
def one_cookie_for_all(t):
    with t.open() as c:
        c.send(b"".join(request(READ, n * 4096, 4096, cookie=7) for n in range(8)))
        require(answers(c, 8) == {7: 8}, "not every request was answered")
        c.require_alive()


def read_and_leave(t, leave):
    with t.open() as c:
        c.send(b"".join(request(READ, n * 4096, 4096, cookie=n) for n in range(32)))
        leave(c)
        require(len(answers(c, 32)) == 32, "not every request was answered")
        c.require_end("after the last answer")


# "NBD_CMD_DISC": the server answers all earlier requests, but not NBD_CMD_DISC, and ignores the
# offset and length of NBD_CMD_DISC.
@check
def disc_answers_requests_in_flight(t):
    read_and_leave(t, lambda c: c.send(request(DISC, 2 ** 64 - 1, 0xFFFFFFFF)))


# "Terminating the transmission phase": a half-close has the same effect as NBD_CMD_DISC.
@check
def half_close_answers_requests_in_flight(t):
    read_and_leave(t, lambda c: c.socket.shutdown(socket.SHUT_WR))


# "Terminating the transmission phase": the connection may end anywhere, even inside a request.
@check
def truncated_request_is_harmless(t):
    for size in (1, 27, 28, 100):
        c = t.open()
        c.send(request(WRITE, 0, 65536, data=bytes(100))[:size])
        c.socket.close()
    t.require_alive()


def flood(c, most=100000):
    """Sends READs without reading replies until the server stops receiving; returns their number."""
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    c.socket.settimeout(1)
    piece = request(READ, 0, 65536)
    count = 0
    try:
        while count < most:
            c.send(piece * (1 if c.socket.family == socket.AF_UNIX else 100))
            count += 1 if c.socket.family == socket.AF_UNIX else 100
    except socket.timeout:
        return count
    raise Wrong(f"{count} requests were accepted although no reply was read")


# The server bounds the memory for replies that a client does not read.
@check
def never_reading_client_is_throttled(t):
    with t.open() as c:
        return f"{flood(c)} requests sent, including those in socket buffers"


# The server drops replies to clients that have disconnected, without affecting other clients.
@check
def never_reading_clients_disappear(t):
    clients = [t.open() for _ in range(4)]
    for c in clients:
        flood(c)
    t.require_alive()
    for c in clients:
        c.reset()
    time.sleep(0.5)
    t.require_alive()


# A client that disconnects inside a write payload must not affect other clients.
@check
def writers_disappear(t):
    if not t.writable():
        return "read-only"
    for size in (28, 28 + 4096, 28 + 65536):
        clients = [t.open() for _ in range(4)]
        for c in clients:
            c.send(request(WRITE, 0, 65536, data=bytes(65536))[:size])
        for c in clients:
            c.reset()
    t.require_alive()


def drops_within(t, trickle, begun=None):
    if t.options.deadline is None:
        return "not requested (--deadline)"
    limit = t.options.deadline + 3
    with begun or t.connect(flags=None) as c:
        c.socket.settimeout(0.5)
        begin = time.monotonic()
        rest = struct.pack(">I8sII", 3, OPTION_MAGIC, 99, 60000) + bytes(60000)
        while time.monotonic() - begin < limit:
            try:
                if trickle:
                    c.send(rest[:1])
                    rest = rest[1:]
                if not c.socket.recv(1):
                    return f"after {time.monotonic() - begin:.1f} s"
            except socket.timeout:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return f"after {time.monotonic() - begin:.1f} s"
        raise Wrong(f"still connected after {limit} s")


# "Termination of the session during option haggling", CVE-2024-7409: the server limits the time for
# the handshake.
@check
def idle_handshake_is_dropped(t):
    return drops_within(t, False)


# The time limit does not restart with each byte.
@check
def trickling_handshake_is_dropped(t):
    return drops_within(t, True)


# TLS. These checks open plaintext connections and start TLS explicitly.

def tls_check(*modes):
    """Adds a check that runs only if --tls specifies one of `modes`."""
    def add(function):
        def run_if_requested(t):
            if t.options.tls not in modes:
                return "not requested (--tls " + " or ".join(modes) + ")"
            if modes != ("off",) and not t.tls:
                return "not requested (--tls-certificates)"
            return function(t)
        CHECKS[function.__name__] = run_if_requested
        return function
    return add


def require_no_reply(c, cause):
    """Expects the server to disconnect, possibly with a TLS alert, but without an NBD reply."""
    got = b""
    try:
        while True:
            part = c.socket.recv(4096)
            if not part:
                break
            got += part
    except ConnectionResetError:
        pass
    except socket.timeout:
        raise Wrong(f"still connected after {cause}") from None
    require(struct.pack(">Q", REPLY_MAGIC) not in got, f"a reply to {cause}")


@tls_check("off")
def tls_is_refused(t):
    with t.connect() as c:
        _, kind = c.require_reply(STARTTLS, b"", POLICY, UNSUP)
        c.go(t.name).require_alive()
        return kind


@tls_check("require")
def plaintext_is_refused(t):
    with t.connect(plain=True) as c:
        for option, data in ((LIST, b""), (INFO, info_data(t.name)), (GO, info_data(t.name)),
                             (STRUCTURED_REPLY, b""), (LIST_CONTEXTS, context_data(t.name)),
                             (SET_CONTEXTS, context_data(t.name))):
            c.require_reply(option, data, TLS_REQD)
        c.start_tls(t.tls).go(t.name).require_alive()
    with t.connect(plain=True) as c:
        c.require_in_step()
    with t.connect(plain=True) as c:
        c.send_option(EXPORT_NAME, t.name)
        c.require_end("after NBD_OPT_EXPORT_NAME in plaintext")


@tls_check("on")
def plaintext_is_served(t):
    with t.connect(plain=True) as c:
        c.go(t.name).require_alive()


@tls_check("on", "require")
def tls_versions(t):
    ciphers = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with t.connect(plain=True) as c:
            c.start_tls(make_context(t.options.tls_certificates, version)).go(t.name)
            c.require_alive()
            ciphers.append(" ".join(c.socket.tls.cipher()[1::-1]))
    return ", ".join(ciphers)


@tls_check("on", "require")
def starttls_discards_earlier_options(t):
    with t.connect(plain=True) as c:
        allowed = (ACK,) if t.options.tls == "on" else (TLS_REQD,)
        c.require_reply(STRUCTURED_REPLY, b"", *allowed)
        c.start_tls(t.tls)
        c.go(t.name)
        require(not c.flags & F_DF, "structured replies are still enabled after NBD_OPT_STARTTLS")
        c.require_alive()  # with a simple reply


@tls_check("on", "require")
def plaintext_after_starttls_is_not_accepted(t):
    inject = OPTION_MAGIC + struct.pack(">II", STRUCTURED_REPLY, 0)
    starttls = OPTION_MAGIC + struct.pack(">II", STARTTLS, 0)
    # Send plaintext together with NBD_OPT_STARTTLS, and after its ACK.
    with t.connect(plain=True) as c:
        c.send(starttls + inject)
        try:
            require(c.receive_reply(STARTTLS)[0] == ACK, "neither ACK nor disconnect")
        except (Wrong, ConnectionResetError):
            pass
        require_no_reply(c, "an option in plaintext after NBD_OPT_STARTTLS")
    with t.connect(plain=True) as c:
        require(c.option(STARTTLS)[0] == ACK, "no ACK")
        c.send(inject)
        require_no_reply(c, "an option in plaintext instead of TLS")
    # A man in the middle injects plaintext, and the client does not notice.
    with t.connect(plain=True) as c:
        c.send(starttls + inject)
        try:
            require(c.receive_reply(STARTTLS)[0] == ACK, "neither ACK nor disconnect")
            c.socket = TlsSocket(c.socket, t.tls).handshake()
        except (Wrong, ConnectionResetError, ssl.SSLError):
            return "dropped"
        c.go(t.name)
        require(not c.flags & F_DF, "the injected option was accepted")
        c.require_alive()  # with a simple reply
        return "ignored"


@tls_check("on", "require")
def client_hello_before_the_acknowledgement(t):
    # Clients must not send the ClientHello before the ACK, but the server must handle it.
    with t.connect(plain=True) as c:
        tls = TlsSocket(c.socket, t.tls)
        c.send(OPTION_MAGIC + struct.pack(">II", STARTTLS, 0) + tls.first_flight())
        try:
            require(c.receive_reply(STARTTLS)[0] == ACK, "no ACK")
        except (Wrong, ConnectionResetError):
            return "dropped"
        c.socket = tls.handshake()
        c.go(t.name).require_alive()
        return "accepted"


@tls_check("on", "require")
def garbage_instead_of_tls_is_dropped(t):
    for garbage in (bytes(64), b"\xff" * 4096, b"GET / HTTP/1.0\r\n\r\n", request(READ, 0, 512),
                    b"\x16\x03\x01\xff\xff" + bytes(70000)):
        with t.connect(plain=True) as c:
            require(c.option(STARTTLS)[0] == ACK, "no ACK")
            try:
                c.send(garbage)
            except (BrokenPipeError, ConnectionResetError):
                continue
            require_no_reply(c, f"{garbage[:8].hex()} instead of TLS")
    t.require_alive()


@tls_check("on", "require")
def disconnect_in_the_tls_handshake_is_harmless(t):
    with t.open() as other:
        for size in (0, 1, 5, 100, 1000):
            for leave in (Connection.reset, lambda c: c.socket.close()):
                c = t.connect(plain=True)
                require(c.option(STARTTLS)[0] == ACK, "no ACK")
                c.send(TlsSocket(c.socket, t.tls).first_flight()[:size])
                leave(c)
        other.require_alive()
    t.require_alive()


@tls_check("on", "require")
def idle_tls_handshake_is_dropped(t):
    if t.options.deadline is None:
        return "not requested (--deadline)"
    c = t.connect(plain=True)
    require(c.option(STARTTLS)[0] == ACK, "no ACK")
    c.send(TlsSocket(c.socket, t.tls).first_flight()[:100])
    return drops_within(t, False, c)


@tls_check("on", "require")
def tls_is_shut_down_first(t):
    # "The party initiating the transaction SHOULD shutdown TLS first if it is running."
    def require_close_notify(c, when):
        c.require_end(when)
        require(c.socket.got_close_notify, f"no close_notify {when}")
    with t.connect() as c:
        c.require_in_step()
        require_close_notify(c, "after NBD_OPT_ABORT")
    with t.open() as c:
        c.send(request(READ, 0, 65536) + request(DISC))
        c.receive_answer(65536)
        require_close_notify(c, "after NBD_CMD_DISC")
    with t.open() as c:
        c.socket.shutdown(socket.SHUT_WR)
        require_close_notify(c, "after the client's own")


def run(name, function, target):
    try:
        detail = function(target)
        print(f"ok {name}: {detail}" if detail else f"ok {name}", flush=True)
        return True
    except (socket.timeout, TimeoutError):
        reason = "timed out"
    except (Wrong, OSError, struct.error, UnicodeDecodeError) as e:  # TLS errors are OSErrors
        reason = str(e) or type(e).__name__
    print(f"FAIL {name}: {reason}", flush=True)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="unix:PATH|tcp:HOST:PORT")
    parser.add_argument("export", metavar="EXPORT")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--no-flush", action="store_true")
    parser.add_argument("--deadline", type=float, metavar="SECONDS")
    parser.add_argument("--tls", choices=("off", "on", "require"), help="expected mode of the server")
    parser.add_argument("--tls-certificates", metavar="DIR", help="use TLS with these certificates")
    parser.add_argument("--only", metavar="PART", default="", help="checks with PART in their name")
    options = parser.parse_args()
    if not options.address.startswith(("unix:", "tcp:")):
        parser.error("expected an address unix:PATH or tcp:HOST:PORT")
    target = Target(options)
    results = [run(name, function, target) for name, function in CHECKS.items()
               if options.only in name]
    failed = results.count(False)
    print(f"{len(results) - failed} ok, {failed} failed")
    sys.exit(1 if failed or not results else 0)


if __name__ == "__main__":
    main()
