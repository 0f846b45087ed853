#!/usr/bin/env bash
# xenpv-disk attach and detach without the kernel's NBD driver, on the simulator:
# kernel_device.sh XENPV_SIM XENPV_DISK. The scenario `disk` of tests/real-xen has the driver.
source "$(dirname "$0")/check.sh"
disk=$2
[ ! -e /sys/module/nbd ] || { echo "skipped: the kernel's NBD driver is loaded here"; exit 77; }

in_guest() {
  "$sim" run --disk xvdb,memory=8M -- "$@" 2>&1 || true
}
status_in_guest() {
  status_of "$sim" run --disk xvdb,memory=8M -- "$@"
}

no_driver="xenpv-disk: find the kernel's NBD driver: not available here (its module is not loaded; as root: modprobe nbd)"
for option in '' --background; do
  # shellcheck disable=SC2086  # a word or none
  expect "attach $option names the module" "$no_driver" "$(in_guest "$disk" attach xvdb $option)"
  # shellcheck disable=SC2086
  expect "attach $option exits with 77" 77 "$(status_in_guest "$disk" attach xvdb $option)"
done
expect "the disk is untouched" 1 "$(in_guest sh -c "'$disk' attach xvdb 2>/dev/null; '$disk' list" |
  grep -Ec '^xvdb .* nobody +Initialising ')"
expect "a wrong device" 2 "$(status_in_guest "$disk" attach xvdb /dev/sda)"
expect "half a second" 2 "$(status_in_guest "$disk" attach xvdb --timeout 500ms)"
expect_line "half a second, the message" "--timeout '500ms': invalid argument \(expected whole seconds\)" \
  "$(in_guest "$disk" attach xvdb --timeout 500ms)"

expect "nothing to detach" 77 "$(status_in_guest "$disk" detach xvdb)"
expect_line "nothing to detach, the message" 'detach xvdb: .*it is not attached' \
  "$(in_guest "$disk" detach xvdb)"
expect_line "a device that is not connected" 'detach /dev/nbd0: .*it is not connected' \
  "$(in_guest "$disk" detach /dev/nbd0)"
# shellcheck disable=SC2016
expect_line "a disk that is served, but not to the kernel" \
  'detach xvdb: .*serves it over NBD, without a kernel device' \
  "$(in_guest "$disk" run xvdb -- sh -c '"$0" detach xvdb' "$disk")"
passed
