#!/usr/bin/env bash
# kernel_device.sh XENPV_SIM XENPV_DISK: tests xenpv-disk attach and detach in the simulator,
# without the kernel's drivers. The scenarios disk and ublk in tests/real-xen/scenarios test them with
# the drivers.
source "$(dirname "$0")/check.sh"
disk=$2
[ ! -e /sys/module/nbd ] || { echo "skipped: the kernel NBD driver is loaded on this machine"; exit 77; }

in_guest() {
  "$sim" run --disk xvdb,memory=8M -- "$@" 2>&1 || true
}
status_in_guest() {
  status_of "$sim" run --disk xvdb,memory=8M -- "$@"
}

no_driver="xenpv-disk: find the kernel NBD driver: not available here (its module is not loaded; as root: modprobe nbd)"
for option in '' --background; do
  # shellcheck disable=SC2086  # may be empty
  expect "attach $option names the module" "$no_driver" "$(in_guest "$disk" attach xvdb $option)"
  # shellcheck disable=SC2086
  expect "attach $option exits with 77" 77 "$(status_in_guest "$disk" attach xvdb $option)"
done
expect "the disk is unchanged" 1 "$(in_guest sh -c "'$disk' attach xvdb 2>/dev/null; '$disk' list" |
  grep -Ec '^xvdb .* nobody +Initialising ')"
[ -e /dev/ublk-control ] || {
  expect_line "attach with ublk names the module" \
    'open /dev/ublk-control: not available here \(.*modprobe ublk_drv .*--driver nbd\)$' \
    "$(in_guest "$disk" attach xvdb --driver ublk)"
  expect "attach with ublk exits with 77" 77 "$(status_in_guest "$disk" attach xvdb /dev/ublkb0)"
}
expect_line "ublk has no timeout" '--driver ublk: invalid argument \(it contradicts --timeout; omit one of them\)$' \
  "$(in_guest "$disk" attach xvdb --driver ublk --timeout 2s)"
expect_line "a device of the other driver" '--driver nbd: invalid argument \(it contradicts /dev/ublkb0; omit one of them\)$' \
  "$(in_guest "$disk" attach xvdb /dev/ublkb0 --driver nbd)"
expect "an invalid device" 2 "$(status_in_guest "$disk" attach xvdb /dev/sda)"
expect "a timeout of half a second" 2 "$(status_in_guest "$disk" attach xvdb --timeout 500ms)"
expect_line "a timeout of half a second: message" "--timeout '500ms': invalid argument \(expected whole seconds\)" \
  "$(in_guest "$disk" attach xvdb --timeout 500ms)"

expect "a disk that is not attached" 77 "$(status_in_guest "$disk" detach xvdb)"
expect_line "a disk that is not attached: message" 'detach xvdb: .*it is not attached' \
  "$(in_guest "$disk" detach xvdb)"
expect_line "a device that is not connected" 'detach /dev/nbd0: .*it is not connected' \
  "$(in_guest "$disk" detach /dev/nbd0)"
# shellcheck disable=SC2016
expect_line "a disk that is served without a kernel device" \
  'detach xvdb: .*serves it over NBD, without a kernel device' \
  "$(in_guest "$disk" run xvdb -- sh -c '"$0" detach xvdb' "$disk")"
passed
