#!/usr/bin/env python3
"""nbdkit_stand_in.py ARGUMENT...: takes the place of nbdkit in libnbd's own tests, with xenpv-disk as the server.

Understands the part of nbdkit's command line that these tests use, and serves a disk of the simulator instead of
nbdkit's memory, null, pattern and file plugins. Exits with status 2 for everything that xenpv-disk does not have,
such as other plugins or the old handshake. With -s, relays standard input and output to the server.

Environment: XENPV_SIM and XENPV_DISK, the paths of the programs. XENPV_STAND_IN_LOG, if set: the file to which the
command line is appended whenever the server is started.
"""

import ctypes
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Options with a value, and what they become in xenpv-disk; None: without effect on what the tests see.
VALUES = {"-e": "--name", "-p": "port", "-U": "--unix", "-P": "--pid-file", "-t": None, "--run": "run", "--tls": "--tls",
          "--tls-certificates": "--tls-certificates", "--tls-psk": "--tls-psk"}
FLAGS = {"-r": "--read-only", "-n": None, "-v": None, "-f": None, "-s": "stdio", "--exit-with-parent": None,
         "--tls-verify-peer": "--tls-verify-peer", "--version": "ask", "--dump-plugin": "ask",
         "--help": "ask", "--dump-config": "config"}
# Filters that need no counterpart: the disk of the simulator is private, and can be slow.
FILTERS = ["delay", "cow"]
DEFAULT_SIZE = "1M"


def refuse(what):
    print(f"xenpv-disk in place of nbdkit: not available: {what}", file=sys.stderr)
    sys.exit(2)


def die_with_parent(number):
    """Has the kernel send this signal when the parent ends. Holds through an exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def serve_inside(command, options):
    """Serves the disk xvdb on a private socket. Runs `command` with $uri and $unixsocket, or relays until one side
    ends. Runs in the guest."""
    die_with_parent(signal.SIGKILL)  # a test that kills nbdkit expects its connection to end
    status = 1
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = subprocess.Popen([os.environ["XENPV_DISK"], "serve", "xvdb", "--unix", path, *options],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                  preexec_fn=lambda: die_with_parent(signal.SIGKILL))
        uri = server.stdout.readline().strip()
        if uri and command:
            status = subprocess.call(["bash", "-c", command], env={**os.environ, "uri": uri, "unixsocket": path})
        elif uri:
            endpoint = socket.socket(socket.AF_UNIX)
            endpoint.connect(path)
            relay(endpoint)
            status = 0
        server.terminate()
        server.wait()
    return status


def relay(server):
    outputs = {0: server.fileno(), server.fileno(): 1}
    try:
        while True:
            for source in select.select(list(outputs), [], [])[0]:
                data = os.read(source, 1 << 18)
                if not data and source != 0:
                    return
                if not data:
                    server.shutdown(socket.SHUT_WR)
                    del outputs[source]
                while data:
                    data = data[os.write(outputs[source], data):]
    except ConnectionError:
        return


def parse(arguments):
    """Returns xenpv-disk's options, nbdkit's other settings, and the plugin with its parameters."""
    options, settings, rest = [], {}, []
    arguments = [part for one in arguments
                 for part in ([f"-{c}" for c in one[1:]] if re.fullmatch("-[a-zA-Z]{2,}", one) else [one])]
    while arguments:
        name, equals, value = arguments.pop(0).partition("=")
        if not name.startswith("-"):
            rest.append(name + equals + value)
            continue
        if name == "--filter" and value in FILTERS:
            continue
        if name in VALUES:
            value = value or arguments.pop(0)
            target = VALUES[name]
        elif name in FLAGS:
            value, target = None, FLAGS[name]
        else:
            refuse(f"the option {name}")
        if target is None or (name, value) == ("-U", "-"):
            continue
        if target.startswith("-"):
            options += [target] if value is None else [target, value]
        else:
            settings[target] = value
    if "--tls-certificates" not in options and "--tls-verify-peer" in options:
        options.remove("--tls-verify-peer")  # nbdkit ignores it without certificates
    return options, settings, rest


def pattern_image(size):
    """Creates an image with the contents of nbdkit's pattern plugin: each 8 bytes hold their offset."""
    with tempfile.NamedTemporaryFile(delete=False) as image:
        image.write(b"".join(struct.pack(">Q", offset) for offset in range(0, size, 8)))
        return image.name


def parse_size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]?)", text.upper()).groups()
    return int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]


def disk_of(rest):
    """Translates a plugin with its parameters to a disk of the simulator."""
    plugin, parameters = rest[0] if rest else "null", rest[1:]
    values = dict(one.split("=", 1) if "=" in one else ("", one) for one in parameters)
    if plugin == "file" and set(values) <= {"", "file"}:
        return f"xvdb,file={values.get('', values.get('file'))}"
    if plugin not in ("memory", "null", "pattern"):
        refuse(f"the plugin {plugin}")
    size = parse_size(values.pop("size", None) or values.pop("", DEFAULT_SIZE))
    delay = values.pop("delay-read", None)
    values.pop("delay-trim", None)
    if values:
        refuse(f"the parameters {values}")
    if size % 512:
        refuse(f"a size of {size} bytes, which is not a multiple of a sector")
    if plugin == "pattern" and size > 64 << 20:
        refuse(f"a pattern of {size} bytes")
    source = f"file={pattern_image(size)}" if plugin == "pattern" else f"memory={size}"
    return f"xvdb,{source}" + (f",fault=delay={delay}s" if delay else "")


def main():
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(serve_inside(sys.argv[2], sys.argv[3:]))
    options, settings, rest = parse(sys.argv[1:])
    if "config" in settings:
        print("version_minor=42")
        return
    disk = disk_of(rest)
    if "ask" in settings:
        return
    if "XENPV_STAND_IN_LOG" in os.environ:
        with open(os.environ["XENPV_STAND_IN_LOG"], "a", encoding="utf-8") as log:
            print(*sys.argv[1:], file=log)
    command = [os.environ["XENPV_SIM"], "run", "--disk", disk, "--"]
    serve = [os.environ["XENPV_DISK"], "serve", "xvdb", *options]
    if "run" in settings or "stdio" in settings:
        command += [sys.executable, os.path.abspath(__file__), "--inside", settings.get("run", ""), *options]
    elif "port" in settings:
        command += serve + ["--tcp", f"127.0.0.1:{settings['port']}", "--tcp", f"[::1]:{settings['port']}"]
    elif "LISTEN_FDS" in os.environ:
        # The ID of the process that the simulator starts.
        command += ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *serve]
    else:
        command += serve
    if "run" not in settings and "stdio" not in settings:
        os.dup2(2, 1)
    die_with_parent(signal.SIGTERM)  # as nbdkit with --exit-with-parent
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
