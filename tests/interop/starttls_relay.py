#!/usr/bin/env python3
"""starttls_relay.py PORT COMMAND...: runs a TLS client on an NBD server that listens on 127.0.0.1:PORT.

Negotiates NBD_OPT_STARTTLS, then relays between the server and COMMAND, which gets the option
-connect HOST:PORT. Prints the lines of its output that describe the handshake.
"""

import socket
import struct
import subprocess
import sys
import threading


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            sys.exit("the server hung up before TLS")
        data += part
    return data


def relay(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main():
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
    receive(server, 18)
    server.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 5, 0))
    receive(server, 20)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    command = sys.argv[2:] + ["-connect", "127.0.0.1:%d" % listener.getsockname()[1]]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    local, _ = listener.accept()
    for pair in ((local, server), (server, local)):
        threading.Thread(target=relay, args=pair, daemon=True).start()
    try:
        output, _ = client.communicate(b"Q\n", timeout=10)
    except subprocess.TimeoutExpired:
        client.kill()
        output, _ = client.communicate()
    for line in output.decode(errors="replace").splitlines():
        # OpenSSL 3.5 names the group, and no temporary key if the group is a hybrid one.
        if any(text in line for text in ("Temp Key", "TLS1.3 group", "Cipher is", "alert")):
            print(line)


main()
