#!/usr/bin/env python3
"""vchan_transfer.py SERVER CLIENT: sends 1 MiB in each direction through two vchan-socket-proxy processes.

Listens on the Unix socket SERVER, to which the proxy of the vchan server connects, and connects to the Unix
socket CLIENT, on which the proxy of the vchan client listens. Only one direction is in use at a time: libxenvchan
does not initialise the member `blocking` of a client, so a proxy may block in a write while it should read.
"""
import os
import pathlib
import socket
import sys
import threading
import time

SIZE = 1 << 20
TIMEOUT = 30


def transfer(source, target):
    data = os.urandom(SIZE)
    sender = threading.Thread(target=source.sendall, args=(data,), daemon=True)
    sender.start()
    received = bytearray()
    while len(received) < SIZE and (part := target.recv(65536)):
        received += part
    sender.join()
    return received == data


listener = socket.socket(socket.AF_UNIX)
listener.settimeout(TIMEOUT)
listener.bind(sys.argv[1])
listener.listen(1)
while not pathlib.Path(sys.argv[2]).is_socket():
    time.sleep(0.05)
client = socket.socket(socket.AF_UNIX)
client.settimeout(TIMEOUT)
client.connect(sys.argv[2])
server, _ = listener.accept()
server.settimeout(TIMEOUT)
print("to the server:", "equal" if transfer(client, server) else "different")
print("to the client:", "equal" if transfer(server, client) else "different")
