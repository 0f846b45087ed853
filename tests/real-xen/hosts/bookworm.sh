# Debian 12: Xen 4.17, Linux 6.1.
release=bookworm
architecture=amd64
# Its kernel has no ublk driver that a server can use (Linux 6.5).
host_lacks='ublk'
