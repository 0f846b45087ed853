#!/usr/bin/env python3
"""event_loopback.py: sends events from one port of this domain to another.

It makes the requests of Linux's evtchn driver with fcntl.ioctl, without any
Xen library. It runs as root in a Xen guest or in domain 0, and in the
simulator: xenpv-sim run -- python3 event_loopback.py
"""
import fcntl
import os
import select
import struct

DOMID_SELF = 0x7FF0


def ioctl(fd, number, *words):
    """Makes a request of type E, whose argument is a struct of unsigned ints.

    Returns the result.
    """
    argument = bytearray(struct.pack(f"{len(words)}I", *words))
    request = len(argument) << 16 | ord("E") << 8 | number
    return fcntl.ioctl(fd, request, argument)


def take(fd):
    """Waits for an event and returns its port, which is masked until it is
    written back."""
    if not select.select([fd], [], [], 10)[0]:
        raise TimeoutError("no event")
    return struct.unpack("I", os.read(fd, 4))[0]


left = os.open("/dev/xen/evtchn", os.O_RDWR)
right = os.open("/dev/xen/evtchn", os.O_RDWR)
left_port = ioctl(left, 2, DOMID_SELF)  # BIND_UNBOUND_PORT
right_port = ioctl(right, 1, DOMID_SELF, left_port)  # BIND_INTERDOMAIN
print("bound ports", left_port, "and", right_port)

assert take(right) == right_port  # a new interdomain port is pending
for _ in range(1000):
    os.write(right, struct.pack("I", right_port))  # unmask
    ioctl(left, 4, left_port)  # NOTIFY
    assert take(right) == right_port
print("received 1000 events")
