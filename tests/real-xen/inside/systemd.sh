#!/bin/bash
# Runs as init in the guests of a scenario with init=systemd, after the mounts of inside/init: installs
# the project, calls the scenario's provision(), and becomes systemd. After the boot, systemd runs
# guest.sh as real-xen.service, and then ends the domain with the systemctl command in /run/ending:
# "reboot", unless main() writes another one.
#
# The writable overlay is lost with the domain: each boot starts from the same state. Only the results
# of an earlier boot of the same guest are kept, on the results disk.
set -u
# shellcheck source=tests/real-xen/inside/lib.sh
source "$XENPV_INSIDE/lib.sh"
# shellcheck source=/dev/null
source "$XENPV_SCENARIO"

# install_project: the files of a package, and the work of its maintainer scripts.
install_project() {
  cp -a /mnt/run/installed/. /
  cp -a /mnt/run/lib/. /usr/local/lib/
  ldconfig
  systemd-sysusers
}

# service UNIT-OPTIONS...: prints a unit that runs the scenario.
service() {
  local variable
  printf '[Unit]\nDescription=Scenario\n'
  printf '%s\n' "$@"
  printf '[Service]\n'
  printf 'StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/console\n'
  # shellcheck disable=SC2016  # expanded by the service
  printf 'ExecStart=/bin/bash -c "bash %s/guest.sh; systemctl --no-block $$(</run/ending)"\n' "$XENPV_INSIDE"
  for variable in PATH HOME LC_ALL XENPV_INSIDE XENPV_RESULTS XENPV_PLACE XENPV_SCENARIO; do
    printf 'Environment=%s=%s\n' "$variable" "${!variable}"
  done
}

write_units() {
  local units=/etc/systemd/system
  service 'After=multi-user.target' >$units/real-xen.service
  # A failed mount starts this service instead of an emergency shell, so that main() can report it.
  service 'DefaultDependencies=no' 'Conflicts=shutdown.target' 'Before=shutdown.target' >$units/emergency.service
  printf '[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\nWants=real-xen.service\n' >$units/real-xen.target
  ln -sf $units/real-xen.target $units/default.target
  # The guest needs no logins, and the image also contains domain 0's services.
  systemctl mask getty.target xen.service xendomains.service
}

echo reboot >/run/ending
unset LD_LIBRARY_PATH
tar -xf /dev/xvdz -C /results 2>/dev/null
{
  install_project
  write_units
  provision
} >/results/provision.log 2>&1
cat /results/provision.log
exec /lib/systemd/systemd
