#!/usr/bin/env python3
"""Starts a service as a service manager would, and logs the service's notifications.

Usage: service_manager.py LOG [--listen PATH] [--abstract] [--watchdog USEC] -- CMD...

CMD is started with NOTIFY_SOCKET in its environment and, with --listen, inherits a listening socket
at PATH (LISTEN_FDS). Each message becomes a line in LOG, with | for newlines; repeated watchdog
messages are logged only once. On "READY=1", a client connects to PATH, and the line records whether
the connection succeeded. Forwards SIGTERM to CMD and exits with the status of CMD.
"""

import argparse
import os
import signal
import socket
import sys
import threading


def connects(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        try:
            client.connect(path)
            return client.recv(8) == b"NBDMAGIC"
        except OSError:
            return False


def record(listener, options):
    known = set()
    with open(options.log, "w", buffering=1) as log:
        while True:
            text = listener.recv(4096).decode()
            if text == "END":
                return
            if text == "WATCHDOG=1" and text in known:
                continue
            known.add(text)
            line = text.replace("\n", "|")
            if options.listen and text.startswith("READY=1"):
                line += "|clients connect" if connects(options.listen) else "|no answer"
            log.write(line + "\n")


def start(options, address):
    os.environ["NOTIFY_SOCKET"] = "@" + address[1:] if options.abstract else address
    if options.watchdog:
        os.environ["WATCHDOG_USEC"] = str(options.watchdog)
    child = os.fork()
    if child:
        return child
    if options.listen:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.listen)
        listener.listen(8)
        if listener.fileno() != 3:
            os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="nbd")
    os.execvp(options.command[0], options.command)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--listen")
    parser.add_argument("--abstract", action="store_true")
    parser.add_argument("--watchdog", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    address = ("\0" if options.abstract else "") + options.log + ".socket"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    child = start(options, address)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    recorder = threading.Thread(target=record, args=(listener, options))
    recorder.start()
    _, status = os.waitpid(child, 0)
    listener.sendto(b"END", address)
    recorder.join()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
