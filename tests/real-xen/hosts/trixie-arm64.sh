# Debian 13 on ARM64: Xen 4.20, Linux 6.12. Xen on ARM has a single guest type, which xl calls pvh.
release=trixie
architecture=arm64
host_places='dom0 pvh pvh4 pvh-faults'
# xl on ARM has no save, restore and migrate (systemd and ublk save their guest, too). ram needs a statically linked program for ARM.
host_lacks='recovery-save recovery-keep ram systemd ublk'
host_modules='ublk_drv'
