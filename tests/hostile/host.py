"""A simulated Xen host with a disk, and xenpv-disk serving this disk, as seen by the operating system."""

import fcntl
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from clients import open_connection
from testing import Failed, Skipped, expect, poll_until

MIB = 1 << 20
MARGIN = 32 * MIB
DEFAULT_BUDGET = 256 * MIB
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotStarted(Failed):
    """The server exited before it listened."""

    def __init__(self, status, log):
        super().__init__(f"the server exits at start, with status {status}:\n{log}")
        self.status = status


def set_limits():
    """For this process and the programs that it starts: many descriptors, no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def end_on_signals():
    """Stops the host also when a signal ends this process."""
    def leave(number, _):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


class Setup:
    """The programs under test and a temporary directory. Closes everything at the end."""

    def __init__(self, simulator, disk, seed):
        self.simulator, self.disk, self.seed = simulator, disk, seed
        self.directory = tempfile.mkdtemp(prefix="xenpv-hostile-")
        self.closing = []
        self.started = False
        self.server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for close in reversed(self.closing):
            close()
        if self.started:
            subprocess.run([self.simulator, "stop", "--dir", self.host], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=30, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def host(self):
        return self.path("host")

    def path(self, name):
        return os.path.join(self.directory, name)

    def start_host(self, disk="xvdb,memory=64M,queues=2"):
        self.started = True
        subprocess.run([self.simulator, "start", "--dir", self.host, "--disk", disk], check=True,
                       timeout=60, stdout=subprocess.DEVNULL)

    def in_guest(self, *command):
        return [self.simulator, "exec", "--dir", self.host, "--domain", "1", "--", *command]

    def spawn(self, command, **options):
        """Starts a process that is killed at the end of the case."""
        process = subprocess.Popen(command, **options)
        self.closing.append(lambda: end_process(process))
        return process

    def offers(self, option):
        """Whether `xenpv-disk serve` has an option."""
        text = subprocess.run([self.disk, "serve", "--help"], stdout=subprocess.PIPE, timeout=30,
                              check=True).stdout.decode()
        return re.search(rf"{re.escape(option)}\b", text) is not None

    def serve(self, *options, disk="xvdb,memory=64M,queues=2", **process_options):
        """Starts the host, if necessary, and a server on a Unix socket and a port of 127.0.0.1."""
        if not self.started:
            self.start_host(disk)
        self.server = Server(self, options, **process_options)
        return self.server

    def needs(self, *programs):
        for program in programs:
            if shutil.which(program) is None:
                raise Skipped(f"{program} is not installed")


def end_process(process):
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


class MemoryWatch(threading.Thread):
    """Records the largest resident memory of a server, until the server ends."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most = server, 0
        self.start()

    def run(self):
        try:
            while self.server.process.poll() is None:
                self.most = max(self.most, self.server.resident())
                time.sleep(0.02)
        except (OSError, KeyError):  # the server has ended
            pass


class Server:
    """A running `xenpv-disk serve xvdb`.

    `address` is the address to listen on besides the Unix socket. `wrapper` is a shell script that
    starts the server, as "$@". With an unread log, stderr is a full pipe.
    """

    def __init__(self, setup, options, address="127.0.0.1", wrapper=None, unread_log=False,
                 stdout=subprocess.PIPE):
        self.setup = setup
        self.socket_path = setup.path("nbd.sock")
        self.log_path = setup.path("log")
        command = [setup.disk, "serve", "xvdb", "--unix", self.socket_path, "--tcp", f"{address}:0",
                   *options]
        if wrapper:
            command = ["sh", "-c", wrapper, "sh", *command]
        if unread_log:
            self.log_pipe, writer = os.pipe()
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
            self.log_writer = os.dup(writer)
            setup.closing.append(lambda: (os.close(self.log_pipe), os.close(self.log_writer)))
            log = os.fdopen(writer, "wb")
        else:
            log = open(self.log_path, "wb")
        with log:
            self.process = setup.spawn(setup.in_guest(*command), stdout=stdout, stderr=log)
        self.pid = self.process.pid
        self.memory = MemoryWatch(self)
        self.uris = []
        self.port = None
        if stdout == subprocess.PIPE:
            self.read_addresses()
        else:
            self.wait_for_socket()

    def read_addresses(self):
        for _ in range(2):
            line = self.process.stdout.readline().decode().strip()
            if not line:
                raise NotStarted(self.process.wait(10), self.log_tail())
            self.uris.append(line)
        self.port = int(re.search(r"://[^/?]*:(\d+)/", self.uris[1]).group(1))

    def wait_for_socket(self):
        def can_connect():
            if self.process.poll() is not None:
                raise NotStarted(self.process.returncode, self.log_tail())
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(self.socket_path) == 0
        poll_until(can_connect, 30, "the server does not listen")

    # Clients.

    @property
    def unix(self):
        return f"unix:{self.socket_path}"

    @property
    def tcp(self):
        return f"tcp:127.0.0.1:{self.port}"

    def connect(self, address=None, timeout=10):
        """Returns a plaintext client in the transmission phase."""
        return open_connection(address or self.unix, timeout).go(b"xvdb")

    def expect_healthy(self, address=None):
        """Expects that a new client can write and read."""
        with self.connect(address) as client:
            content = os.urandom(4096)
            client.write(8192, content)
            expect(client.read(8192, 4096) == content, "a client reads other data than it wrote")

    # The process.

    def is_log_full(self):
        poller = select.poll()
        poller.register(self.log_writer, select.POLLOUT)
        return not poller.poll(0)

    def log(self):
        if not os.path.exists(self.log_path):
            return []
        with open(self.log_path, "rb") as file:
            return ANSI.sub("", file.read().decode(errors="replace")).splitlines()

    def log_tail(self):
        """The last lines of the log. Lines that differ only in their numbers are shown once."""
        counts = {}
        for line in self.log()[-2000:]:
            kind = re.sub(r"\d+", "N", line)
            counts[kind] = (counts.pop(kind, (0, ""))[0] + 1, line)
        return "\n".join(line[:200] + (f"  [{count} such lines]" if count > 1 else "")
                         for count, line in list(counts.values())[-12:])

    def expect_alive(self):
        status = self.process.poll()
        expect(status is None, f"the server exited with status {status}:\n{self.log_tail()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def has_crashed(self):
        """Whether a signal has ended the server, soon after a client has noticed it."""
        try:
            return self.process.wait(0.5) < 0
        except subprocess.TimeoutExpired:
            return False

    def descriptors(self):
        """The number of open descriptors, without pipes: the simulator's event channels are pipes, some
        of which it opens when an event first needs them."""
        count = 0
        for number in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                count += not os.readlink(f"/proc/{self.pid}/fd/{number}").startswith("pipe:")
            except FileNotFoundError:  # closed meanwhile
                pass
        return count

    def process_status(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def threads(self):
        return int(self.process_status()["Threads"])

    def resident(self):
        """Bytes of resident memory. In the simulator, granted pages are shared memory, which is
        not counted."""
        status = self.process_status()
        return sum(int(status[name].split()[0]) << 10 for name in ("RssAnon", "RssFile"))

    def processor_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def report(self):
        """The document that `xenpv-disk status --json` prints for the disk."""
        text = subprocess.run(self.setup.in_guest(self.setup.disk, "status", "xvdb", "--json"),
                              stdout=subprocess.PIPE, timeout=30, check=True).stdout
        document = json.loads(text)
        return document["disks"][0] | {"totals": document["servers"][0]}

    def count_resources(self, connect=None):
        """Returns the descriptors and threads of a server without clients. Eight clients come first, so
        that each thread has what it keeps. `connect` returns one; without it, they use plaintext."""
        for _ in range(2):
            clients = [connect() if connect else self.connect(address) for address in (self.unix, self.tcp) * 4]
            for client in clients:
                client.write(0, bytes(65536))
                client.read(0, 65536)
            for client in clients:
                getattr(client.socket, "raw", client.socket).close()
        time.sleep(0.3)
        return self.descriptors(), self.threads()

    def memory_limit(self):
        """The budget for clients, plus a margin for everything else."""
        return self.report()["totals"].get("memory", {}).get("limit", DEFAULT_BUDGET) + MARGIN

    def expect_memory(self, limit):
        """Expects that the resident memory was never above the limit."""
        expect(self.memory.most <= limit, f"{self.memory.most / MIB:.0f} MiB were resident instead of at most "
                                          f"{limit / MIB:.0f} MiB")

    def expect_resources(self, resources, seconds=15):
        """Expects that the server has returned to the descriptors and threads that it had."""
        descriptors, threads = resources
        poll_until(lambda: self.descriptors() <= descriptors, seconds,
                   lambda: f"{self.descriptors()} descriptors are open instead of {descriptors}")
        expect(self.threads() <= threads, f"{self.threads()} threads instead of {threads}")

    def terminate(self, seconds=5, statuses=(0,)):
        """Sends SIGTERM and expects one of the exit statuses. Returns the time that it took."""
        self.expect_alive()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"SIGTERM does not end the server within {seconds} s") from None
        expect(status in statuses, f"exit status {status} after SIGTERM:\n{self.log_tail()}")
        return time.monotonic() - began
