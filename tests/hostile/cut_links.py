"""Clients whose network link is cut: in network namespaces of the test's own, with a veth pair between the
server and the clients."""

import ctypes
import os
import select
import socket
import subprocess
import sys
import time

from clients import READ, WRITE, open_connection, open_socket, request
from mutes import SILENCE_LIMIT, clients_in_status, progress_options
from testing import Failed, Skipped, case, expect, poll_until

SERVER, CLIENT = "198.51.100.1", "198.51.100.2"  # addresses reserved for documentation
DEAD_AFTER = 90  # seconds; about a minute is the aim
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438


def unshare(*command):
    """Returns the command that runs `command` in a new network namespace. Without root, this needs a
    new user namespace, in which the user is root."""
    return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--", *command]


@case()
def cut_links(setup):
    setup.needs("unshare", "ip", "nsenter")
    attempt = unshare("ip", "link", "add", "name", "left", "type", "veth", "peer", "name", "right")
    if subprocess.run(attempt, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        raise Skipped("network namespaces or veth interfaces are not permitted")
    done = subprocess.run(
        unshare(sys.executable, "-B", os.path.abspath(__file__), setup.simulator, setup.disk),
        timeout=100, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace").strip()
    expect(done.returncode == 0, text)
    return text.splitlines()[-1]


def ip(*arguments, namespace=None):
    inside = ["nsenter", "--net", f"--target={namespace}", "--"] if namespace else []
    subprocess.run([*inside, "ip", *arguments], check=True, timeout=10)


def connect_namespaces(clients):
    """Connects this namespace with that of the process `clients`."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "name", "server", "type", "veth", "peer", "name", "client", "netns", str(clients))
    ip("address", "add", f"{SERVER}/24", "dev", "server")
    ip("link", "set", "server", "up")
    ip("address", "add", f"{CLIENT}/24", "dev", "client", namespace=clients)
    ip("link", "set", "client", "up", namespace=clients)


def hold_connections(port):
    """The clients, in a namespace of their own. Each has something outstanding, and none says goodbye:
    the process is killed after the link has been cut."""
    address = f"tcp:{SERVER}:{port}"
    held = []
    for number in range(8):
        client = open_connection(address, 5).go(b"xvdb")
        client.socket.settimeout(0.3)
        try:
            if number % 2:
                client.send(b"".join(request(READ, n << 20, 1 << 20, cookie=n) for n in range(32)))
            else:
                client.send(request(WRITE, 0, 1 << 20, data=bytes(70000)))
        except socket.timeout:
            pass
        held.append(client)
    strangers = [open_socket(address) for _ in range(8)]
    print("connected", flush=True)
    select.select([], [], [], 60)
    return held, strangers


def serve_through_veth(simulator, disk):
    """The server's side, in the outer namespace."""
    from host import Setup
    with Setup(simulator, disk, 0) as setup:
        clients = setup.spawn(unshare_inner("sleep", "90"))
        own = os.readlink("/proc/self/ns/net")
        poll_until(lambda: os.readlink(f"/proc/{clients.pid}/ns/net") != own, 10, "no second network namespace")
        connect_namespaces(clients.pid)
        server = setup.serve("--max-connections", "32", *progress_options(setup), address=SERVER)
        resources = server.count_resources(lambda: server.connect())
        holder = setup.spawn(["nsenter", "--net", f"--target={clients.pid}", "--", sys.executable, "-B",
                              os.path.abspath(__file__), "hold", str(server.port)], stdout=subprocess.PIPE)
        expect(holder.stdout.readline() == b"connected\n", "the clients cannot connect through the link")
        connected = clients_in_status(server)
        ip("link", "set", "client", "down", namespace=clients.pid)
        holder.kill()
        began = time.monotonic()
        limit = max(SILENCE_LIMIT, 10 + 4)  # the strangers are in their handshakes
        while time.monotonic() - began < limit and (clients_in_status(server) or
                                                    server.descriptors() > resources[0]):
            server.expect_healthy()
            time.sleep(0.3)
        left = clients_in_status(server)
        expect(left == 0, f"{limit} s after the link was cut, {left} of {connected} clients still have seats")
        seconds = time.monotonic() - began
        server.expect_resources(resources, 3)
        seats = [server.connect() for _ in range(32)]
        for client in seats:
            client.require_alive()
        for client in seats:
            client.socket.close()
        server.terminate()
        print(f"8 clients and 8 strangers, all noticed after {seconds:.1f} s")


def unshare_inner(*command):
    """For a process that is already root in its user namespace."""
    return ["unshare", "--net", "--", *command]


# Clients with nothing outstanding: the kernel must notice that they are dead. A minute is too long for
# a test, so this examines the socket options.


def take_descriptor(pid, number):
    """Duplicates a descriptor of a child process."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    if process < 0:
        raise Skipped(f"pidfd_open: {os.strerror(ctypes.get_errno())}")
    try:
        taken = libc.syscall(SYS_PIDFD_GETFD, process, number, 0)
        if taken < 0:
            raise Skipped(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        return taken
    finally:
        os.close(process)


def server_side(server, client):
    """Returns the server's socket of a client that is connected over TCP."""
    for number in os.listdir(f"/proc/{server.pid}/fd"):
        try:
            if not os.readlink(f"/proc/{server.pid}/fd/{number}").startswith("socket:"):
                continue
        except FileNotFoundError:
            continue
        sock = socket.socket(fileno=take_descriptor(server.pid, int(number)))
        try:
            if sock.family == socket.AF_INET and sock.getpeername() == client.getsockname():
                return sock
        except OSError:
            pass
        sock.close()
    raise Failed("the server has no socket for a client")


@case()
def dead_idle_clients_are_noticed(setup):
    """TCP probes a silent peer, and gives up, within about a minute."""
    server = setup.serve()
    stranger = open_socket(server.tcp)
    stranger.recv(18)
    client = server.connect(server.tcp)
    out = []
    for name, sock in (("stranger", stranger), ("client", client.socket)):
        with server_side(server, sock) as own:
            expect(own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), f"no keepalive for a {name}")
            idle, interval, count = (own.getsockopt(socket.IPPROTO_TCP, option) for option in (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT))
            noticed = idle + interval * count
            expect(noticed <= DEAD_AFTER, f"an idle {name} that is dead is noticed only after {noticed} s "
                                          f"({idle} + {count} * {interval}) instead of at most {DEAD_AFTER} s")
            timeout = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
            expect(0 < timeout <= DEAD_AFTER, f"TCP_USER_TIMEOUT is {timeout:.0f} s for a {name}")
            out.append(f"{name}: keepalive {noticed} s, user timeout {timeout:.0f} s")
    stranger.close()
    client.socket.close()
    return "; ".join(out)


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold_connections(int(sys.argv[2]))
    else:
        try:
            serve_through_veth(sys.argv[1], sys.argv[2])
        except Exception as problem:  # the outer process reports it
            print(problem if isinstance(problem, Failed) else f"{type(problem).__name__}: {problem}")
            sys.exit(1)
