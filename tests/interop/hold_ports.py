#!/usr/bin/env python3
"""hold_ports.py DOMAIN: binds an unbound port for DOMAIN and both ends of a channel within this domain.

Prints the three ports, and holds them until standard input ends.
"""
import fcntl
import os
import struct
import sys

DOMID_SELF = 0x7FF0


def ioctl(fd, number, *words):
    argument = bytearray(struct.pack(f"{len(words)}I", *words))
    return fcntl.ioctl(fd, len(argument) << 16 | ord("E") << 8 | number, argument)


fd = os.open("/dev/xen/evtchn", os.O_RDWR)
for_domain = ioctl(fd, 2, int(sys.argv[1]))  # IOCTL_EVTCHN_BIND_UNBOUND_PORT
left = ioctl(fd, 2, DOMID_SELF)
right = ioctl(fd, 1, DOMID_SELF, left)  # IOCTL_EVTCHN_BIND_INTERDOMAIN
print(for_domain, left, right, flush=True)
sys.stdin.read()
