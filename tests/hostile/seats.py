"""Few seats, and seats that return."""

import subprocess

from clients import DISC, request, reset
from testing import case, expect, poll_until


def copies(server, *command):
    done = subprocess.run(["nbdcopy", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    expect(done.returncode == 0, f"nbdcopy {' '.join(command)}: status {done.returncode}: "
                                 f"{done.stdout.decode(errors='replace').strip()[:300]}")
    server.expect_alive()


def check_few_seats(setup, seats):
    setup.needs("nbdcopy")
    server = setup.serve("--max-connections", str(seats))
    with open(setup.path("image"), "wb") as image:
        image.write(bytes(range(256)) * (8 << 12))
    for uri in server.uris:
        # nbdcopy opens four connections, but not more than it has threads: one for each CPU.
        for options in ((), ("--threads=4",)):
            copies(server, *options, setup.path("image"), uri)
            copies(server, *options, uri, setup.path("back"))
            with open(setup.path("image"), "rb") as image, open(setup.path("back"), "rb") as back:
                content = image.read()
                expect(back.read(len(content)) == content, "the copy differs")
    return "nbdcopy works as on machines with few and with many CPUs, over both listeners"


@case()
def one_seat(setup):
    return check_few_seats(setup, 1)


@case()
def two_seats(setup):
    return check_few_seats(setup, 2)


@case()
def three_seats(setup):
    return check_few_seats(setup, 3)


@case()
def four_seats(setup):
    return check_few_seats(setup, 4)


@case()
def seats_return(setup):
    """After clients have left in every way, all seats are free again."""
    server = setup.serve()
    resources = server.count_resources()
    for turn in range(10):
        def sit_down():
            clients = []
            try:
                for number in range(16):
                    clients.append(server.connect(server.tcp if number % 2 else server.unix))
            except Exception:  # the previous clients have not been noticed yet
                for client in clients:
                    client.socket.close()
                return None
            return clients
        clients = poll_until(sit_down, 10, f"turn {turn}: not all 16 seats are free")
        for number, client in enumerate(clients):
            client.require_alive()
            if number % 4 == 1:
                reset(client.socket)
            elif number % 4 == 2:
                client.send(bytes(13))
                client.socket.close()
            elif number % 4 == 3:
                client.send(request(DISC))
                client.require_end("after NBD_CMD_DISC")
                client.socket.close()
            else:
                client.socket.close()
    server.expect_resources(resources)
    return "160 clients"
