# Debian 13: Xen 4.20, Linux 6.12.
release=trixie
architecture=amd64
host_modules='ublk_drv'
