"""Random, mutated and extreme option and request streams. The server must stay up, answer other clients,
and lose no descriptor or thread."""

import errno
import random
import select
import socket
import struct

from clients import (
    ABORT, EXPORT_NAME, FLAGS, FLUSH, GO, INFO, LIST, OPTION_MAGIC, READ, REQUEST, STARTTLS, STRUCTURED_REPLY,
    TRIM, WRITE, ZEROES, open_connection, open_socket, request, reset)
from testing import Failed, case

STREAMS = 1000
SIZES = (0, 1, 3, 4, 5, 27, 28, 511, 512, 513, 4095, 4096, 65536, (1 << 25) - 1, 1 << 25, (1 << 25) + 1,
         1 << 26, (1 << 26) + 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 512, (1 << 32) - 1)
OPTIONS = (ABORT, EXPORT_NAME, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, 0, 4, 9, 10, 11, 12, 0xFFFFFFFF)
OFFSETS = (0, 1, 511, 512, (64 << 20) - 512, (64 << 20) - 1, 64 << 20, (64 << 20) + 1, 1 << 32,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 512, (1 << 64) - 1)


def send_stream(address, data, most=4 << 20):
    """Sends a stream on a new connection and half-closes it. Reads the replies meanwhile, up to a
    limit. Returns the number of bytes received."""
    sock = open_socket(address, 10)
    sock.setblocking(False)
    view, received = memoryview(data), 0
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | select.POLLOUT)
    try:
        while received < most:
            events = poller.poll(5000)
            if not events:
                raise Failed("the server neither answers nor disconnects although the stream has ended")
            if events[0][1] & ~select.POLLOUT:
                part = sock.recv(1 << 18)
                if not part:
                    return received
                received += len(part)
            else:
                view = view[sock.send(view[:1 << 18]):]
                if not view:
                    sock.shutdown(socket.SHUT_WR)
                    poller.modify(sock.fileno(), select.POLLIN)
        return received
    except OSError as problem:
        if problem.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise
        return received
    finally:
        reset(sock)


def mutate(random_source, data):
    out = bytearray(data)
    for _ in range(random_source.choice((0, 1, 1, 2, 5))):
        if not out:
            break
        place = random_source.randrange(len(out))
        kind = random_source.randrange(7)
        if kind == 0:
            out[place] ^= 1 << random_source.randrange(8)
        elif kind == 1:
            out[place] = random_source.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del out[place:place + random_source.choice((1, 2, 4, 8, 100))]
        elif kind == 3:
            out[place:place] = random_source.randbytes(random_source.choice((1, 2, 4, 8, 100)))
        elif kind == 4:
            del out[place:]
        elif kind == 5:
            out[place:place + 4] = struct.pack(">I", random_source.choice(SIZES))
        else:
            start = random_source.randrange(len(out))
            out[place:place] = out[start:start + random_source.choice((8, 28, 64, 500))]
    return bytes(out)


def option(number, data=b"", length=None):
    return OPTION_MAGIC + struct.pack(">II", number, len(data) if length is None else length) + data


def name_and_infos(source):
    name = source.choice((b"xvdb", b"", b"\xff\xfe", b"x" * 255, b"y" * 4096, b"xvdb\0", b"../xvdb"))
    infos = [source.choice((0, 1, 2, 3, 4, 0xFFFF)) for _ in range(source.choice((0, 1, 3, 200)))]
    return struct.pack(f">I{len(name)}sH{len(infos)}H", len(name), name, len(infos), *infos)


def random_option(source):
    number = source.choice(OPTIONS)
    if number in (INFO, GO):
        data = name_and_infos(source)
    elif number in (9, 10):
        queries = [source.randbytes(source.choice((0, 1, 15, 300))) for _ in range(source.choice((0, 1, 5)))]
        data = struct.pack(">I4sI", 4, b"xvdb", len(queries)) + b"".join(
            struct.pack(">I", len(query)) + query for query in queries)
    else:
        data = source.choice((b"", b"", b"xvdb", source.randbytes(source.choice((1, 100, 5000)))))
    length = source.choice(SIZES) if source.random() < 0.1 else None
    return option(number, data, length)


GO_XVDB = option(GO, struct.pack(">I4sH", 4, b"xvdb", 0))


def random_request(source):
    command = source.choice((READ, WRITE, FLUSH, TRIM, 5, ZEROES, 7, 8, 0xFFFF, READ, WRITE))
    length = source.choice((0, 1, 512, 4096, 4097, 65536)) if source.random() < 0.8 else source.choice(SIZES)
    offset = source.choice(OFFSETS) if source.random() < 0.4 else source.randrange(64 << 20)
    flags = source.choice((0, 0, 0, 1, 2, 4, 8, 16, 0x1F, 0x8000, 0xFFFF))
    payload = source.randbytes(min(length, 70000)) if command == WRITE and source.random() < 0.9 else b""
    return request(command, offset, length, flags, source.getrandbits(64), payload)


def run_streams(setup, server, address, make_stream):
    resources = server.count_resources()
    source = random.Random(setup.seed)
    received = 0
    for number in range(STREAMS):
        stream = make_stream(source)
        try:
            received += send_stream(address, stream)
            server.expect_alive()
            if number % 100 == 99:
                server.expect_healthy()
        except Exception as problem:
            raise Failed(f"seed {setup.seed}, stream {number}: {type(problem).__name__}: {problem}; "
                         f"the stream: {stream[:2000].hex()} ({len(stream)} bytes)") from problem
    server.expect_healthy(server.tcp)
    server.expect_resources(resources)
    return f"{STREAMS} streams, seed {setup.seed}, {received} bytes of replies"


@case()
def random_bytes(setup):
    def make_stream(source):
        start = source.choice((b"", FLAGS, FLAGS + OPTION_MAGIC, FLAGS + GO_XVDB,
                               FLAGS + GO_XVDB + struct.pack(">I", REQUEST)))
        return start + source.randbytes(source.choice((1, 17, 100, 3000, 50000)))
    server = setup.serve()
    return run_streams(setup, server, server.tcp, make_stream)


@case()
def random_options(setup):
    def make_stream(source):
        flags = source.choice((FLAGS, FLAGS, FLAGS, b"\0\0\0\1", b"\0\0\0\0", b"\xff\xff\xff\xff"))
        stream = flags + b"".join(random_option(source) for _ in range(source.choice((1, 3, 10, 100))))
        return mutate(source, stream) if source.random() < 0.5 else stream
    server = setup.serve()
    return run_streams(setup, server, server.unix, make_stream)


@case()
def random_requests(setup):
    def make_stream(source):
        haggling = FLAGS + (option(STRUCTURED_REPLY) if source.random() < 0.5 else b"") + GO_XVDB
        requests = b"".join(random_request(source) for _ in range(source.choice((1, 5, 20, 60))))
        return haggling + (mutate(source, requests) if source.random() < 0.6 else requests)
    server = setup.serve()
    return run_streams(setup, server, server.unix, make_stream)


@case()
def random_requests_to_a_small_disk(setup):
    """On a disk with large sectors, with one queue, over TCP."""
    def make_stream(source):
        return FLAGS + GO_XVDB + b"".join(random_request(source) for _ in range(source.choice((1, 8, 30))))
    server = setup.serve(disk="xvdb,memory=1M,sector=4096")
    return run_streams(setup, server, server.tcp, make_stream)


@case()
def extreme_requests(setup):
    """Every combination of command, extreme offset, extreme length and flag gets an answer, or the
    client is disconnected for a payload that is too large."""
    server = setup.serve()
    resources, count = server.count_resources(), 0
    client = server.connect(timeout=10)
    for structured in (False, True):
        for command in (READ, WRITE, FLUSH, TRIM, 5, ZEROES, 7, 99):
            client.socket.close()
            client = connect_again(server, structured)
            for offset in OFFSETS:
                for length in SIZES:
                    if command == READ and 1 << 20 < length <= 1 << 26 and offset < 64 << 20:
                        continue  # valid and slow
                    if command == ZEROES and length > 1 << 20 and offset + length <= 64 << 20:
                        continue
                    for flags in (0, 1, 0xFFFF) if length in (512, 1 << 32) else (0,):
                        count += 1
                        if command == WRITE and length > 4096:
                            client = write_without_payload(server, client, offset, length, flags, structured)
                            continue
                        data = bytes(length) if command == WRITE else b""
                        try:
                            client.ask(command, offset, length, flags, data)
                        except Exception as problem:
                            server.expect_alive()
                            raise Failed(f"command {command}, offset {offset}, length {length}, flags "
                                         f"{flags:#x}{', structured' if structured else ''}: "
                                         f"{type(problem).__name__}: {problem}") from problem
    client.socket.close()
    server.expect_healthy()
    server.expect_resources(resources)
    return f"{count} requests"


def connect_again(server, structured):
    return open_connection(server.unix).go(b"xvdb", structured=structured)


def write_without_payload(server, client, offset, length, flags, structured):
    """Sends the header of a WRITE and part of its payload, then disconnects."""
    client.send(struct.pack(">IHHQQI", REQUEST, flags, WRITE, 1, offset, length) + bytes(1000))
    reset(client.socket)
    return connect_again(server, structured)
