# Debian 12: Xen 4.17, Linux 6.1.
release=bookworm
architecture=amd64
