#!/usr/bin/env bash
# disk_take.sh XENPV_SIM XENPV_DISK: tests which disks xenpv-disk --take takes over from the kernel
# driver, when it takes them over, and how it returns a disk that it cannot serve.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3
"$sim" start --dir "$host" --disk hda,memory=64M --disk xvdc,memory=8M --disk xvdd,memory=8M
source "$here/serve.sh"
vbd="$root/sys/bus/xen/drivers/vbd"
refused() { in_guest timeout 40 "$disk" "$@" 2>&1 || true; }
expect_untouched() {
  expect "$1: the disk stays with the kernel" "" "$(cat "$vbd/unbind")"
}
# hold NUMBER NAME: creates the /sys and /proc of a guest whose kernel uses the disk as /dev/NAME
hold() {
  mkdir -p "$root/sys/bus/xen/devices/vbd-$1/driver" "$root/sys/bus/xen/devices/vbd-$1/block/$2" "$vbd" \
    "$root/dev" "$root/proc/self"
  : >"$vbd/unbind"
  : >"$vbd/bind"
  : >"$root/dev/$2"
}

# The toolstack calls the root disk of an XCP-ng HVM guest hda; the guest calls it xvda. The command
# line accepts both names.
hold 768 xvda
echo '22 1 202:1 / / rw - ext4 /dev/xvda1 rw' >"$root/proc/self/mountinfo"
expect_line "list shows the guest's name" '^xvda +768 .* kernel ' "$(in_guest "$disk" list)"
expect "JSON also has the toolstack's name" "xvda hda 768" "$(in_guest "$disk" list --json | python3 -c '
import json, sys
disk = json.load(sys.stdin)["disks"][0]
print(disk["name"], disk["toolstack_name"], disk["devid"])')"
for word in hda xvda /dev/xvda 768 device/vbd/768; do
  expect_line "a mounted root disk is not taken over, as $word" \
    '^xenpv-disk: take xvda from the kernel: device or resource busy \(it is mounted on / \(/dev/xvda1\)\)$' \
    "$(refused serve "$word" --take)"
  expect_untouched "$word"
done
for command in "run hda --take -- true" "bench hda --take --engine xenpv"; do
  # shellcheck disable=SC2086  # split into words
  expect_line "a mounted root disk is not taken over, by ${command%% *}" 'it is mounted on / ' "$(refused $command)"
  expect_untouched "${command%% *}"
done
: >"$root/proc/self/mountinfo"

mkdir -p "$root/sys/block/loop0/loop"
echo /dev/xvda >"$root/sys/block/loop0/loop/backing_file"
expect_line "a disk used by a loop device is not taken over" 'busy \(it is used by loop0 \(/dev/xvda\)\)$' \
  "$(refused serve hda --take)"
expect_untouched "a loop device"
rm -r "$root/sys/block/loop0"

mv "$root/sys/bus/xen/devices/vbd-768/block" "$dir/block"
expect_line "a disk whose kernel name is unknown is not taken over" "cannot read the kernel's name for the disk" \
  "$(refused serve hda --take)"
expect_untouched "an unknown name"
mv "$dir/block" "$root/sys/bus/xen/devices/vbd-768/block"

# An HVM guest that was booted without unplugging the emulated devices.
mkdir -p "$root/sys/hypervisor" "$root/sys/block/sda/device"
echo HVM >"$root/sys/hypervisor/guest_type"
echo 'QEMU HARDDISK' >"$root/sys/block/sda/device/model"
echo 'root=/dev/sda1 xen_emul_unplug=never' >"$root/proc/cmdline"
expect_line "a disk whose emulated twin is in use is not taken over" \
  'serve xvda: device or resource busy \(this guest also accesses the disk as /dev/sda, emulated by QEMU: .*\(xen_emul_unplug=never\)' \
  "$(refused serve hda --take)"
expect_untouched "a twin"
expect_line "--force overrides only that check" "the kernel driver is using it; use --take" "$(refused serve hda --force)"
rm -r "$root/sys/hypervisor" "$root/sys/block/sda" "$root/proc/cmdline"

# All other errors are detected before the disk is taken over.
python3 -c '
import socket, sys, time
s = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(s.getsockname()[1]))
time.sleep(1000)' "$dir/port" &
holder=$!
wait_for "a port is busy" test -s "$dir/port"
echo x >"$dir/file"
long=$(printf '%0120d' 0)
check_early() {
  local what=$1 message=$2
  shift 2
  expect_line "$what" "$message" "$(refused "$@")"
  expect_untouched "$what"
}
check_early "a busy port" 'address already in use' serve hda --take --tcp "127.0.0.1:$(cat "$dir/port")"
check_early "a missing directory" 'no such file or directory' serve hda --take --unix "$dir/nowhere/nbd.sock"
check_early "an unknown group" 'no such group' serve hda --take --socket-group nobody-is-in-it
check_early "a socket path that is too long" 'expected a path of 1 to 107 bytes' serve hda --take --unix "$dir/$long"
check_early "a file in the way" 'it is not a socket' serve hda --take --unix "$dir/file"
check_early "a pid file that cannot be written" 'write /nowhere/pid' serve hda --take --pid-file /nowhere/pid
check_early "an export name that is too long" 'longer than 1023 bytes' serve hda --take --name "$(printf '%02000d' 1)"
check_early "a missing key file" 'psk' serve hda --take --tls-psk "$dir/nowhere"
check_early "a missing command" 'run no-such-command: no such file or directory' run hda --take -- no-such-command
expect "the exit status is the same as in a shell" 127 "$(status_of in_guest "$disk" run hda --take -- no-such-command)"
expect_untouched "a missing command"
if [ ! -e /sys/module/nbd ]; then
  check_early "no NBD driver" 'modprobe nbd' attach hda --take
fi
kill "$holder"
wait "$holder" 2>/dev/null || true
mkdir "$root/run/xenpv/xvda.control"
check_early "a status socket that cannot be made" 'xvda.control: file exists' serve hda --take
rmdir "$root/run/xenpv/xvda.control"
expect "no socket is left behind" "" "$(find "$dir" -name '*.sock' -o -name '*.control')"
expect "the disk is not connected" 1 "$(state_of 768)"

# If an error occurs after the takeover, the disk is returned.
hold 51760 xvdd
failed=$(refused serve xvdd --take --pages 1 --unix "$dir/nbd.sock")
expect "a disk that cannot be connected was taken over" vbd-51760 "$(cat "$vbd/unbind")"
expect "and returned" vbd-51760 "$(cat "$vbd/bind")"
expect_line "the return is reported" "xvdd: returned to the kernel driver, as /dev/xvdd" "$failed"
expect_line "the error is reported" '^xenpv-disk: connect with 1 granted pages: ' "$failed"
expect "both ends are in their initial states" "1 2" \
  "$(state_of 51760) $(in_guest xenstore-read /local/domain/0/backend/vbd/1/51760/state)"
expect "no socket is left behind" 1 "$(status_of test -e "$dir/nbd.sock")"
hold 51760 xvdd
refused bench xvdd --take --pages 1 --engine xenpv >/dev/null
expect "bench also returns the disk" vbd-51760 "$(cat "$vbd/bind")"
hold 51760 xvdd
rmdir "$root/sys/bus/xen/devices/vbd-51760/block/xvdd"
mkdir "$root/sys/bus/xen/devices/vbd-51760/block/"{xvdd,other}
expect_line "two names are ambiguous" "cannot read the kernel's name for the disk" "$(refused serve xvdd --take)"
rm -r "$root/sys/bus/xen/devices/vbd-51760"

# A server that fails after connecting closes the disk properly and returns it.
ln -s /dev/full "$dir/pid"
expect_line "a server that fails after connecting" "write $dir/pid" "$(refused serve xvdd --pid-file "$dir/pid")"
expect "the disk is closed" "6 6" "$(state_of 51760) $(in_guest xenstore-read /local/domain/0/backend/vbd/1/51760/state)"
hold 51760 xvdd
ln -s /dev/full "$dir/pid"
expect_line "the disk is returned" "xvdd: returned to the kernel driver" \
  "$(refused serve xvdd --take --pid-file "$dir/pid")"
expect "the driver gets the disk" "vbd-51760 1" "$(cat "$vbd/bind") $(state_of 51760)"
rm -r "$root/sys/bus/xen/devices/vbd-51760"

# The two halves of a takeover, for a server without the privileges to see a disk's users.
hold 51760 xvdd
record="$root/run/xenpv/xvdd.released"
echo '23 1 202:49 / /srv rw - ext4 /dev/xvdd1 rw' >"$root/proc/self/mountinfo"
expect_line "release refuses a mounted disk" \
  '^xenpv-disk: take xvdd from the kernel: device or resource busy \(it is mounted on /srv \(/dev/xvdd1\)\)$' \
  "$(refused release xvdd)"
expect_untouched "a refused release"
expect "a refused release leaves nothing to undo" 1 "$(status_of test -e "$record")"
expect_line "undo without a release" 'xvdd: there is nothing to undo' "$(in_guest "$disk" release --undo xvdd 2>&1)"
expect "the driver is not asked" "" "$(cat "$vbd/bind")"
: >"$root/proc/self/mountinfo"
expect_line "an unused disk is released" 'xvdd: released by the kernel driver' "$(in_guest "$disk" release xvdd 2>&1)"
expect "it was taken over" vbd-51760 "$(cat "$vbd/unbind")"
rm "$root/sys/bus/xen/devices/vbd-51760/driver" -r
: >"$vbd/unbind"
expect_line "a released disk stays so" 'xvdd: the kernel driver is not using it' "$(in_guest "$disk" release xvdd 2>&1)"
expect_untouched "a second release"
rm "$vbd/bind"
mkdir "$vbd/bind"
expect_line "a driver that cannot be bound" 'return xvdd to the kernel driver: .*is a directory' "$(refused release --undo xvdd)"
expect "the return can be repeated" 0 "$(status_of test -e "$record")"
rmdir "$vbd/bind"
: >"$vbd/bind"
expect_line "a released disk is returned" 'xvdd: returned to the kernel driver, as /dev/xvdd' \
  "$(in_guest "$disk" release --undo xvdd 2>&1)"
expect "it was bound" "vbd-51760 1" "$(cat "$vbd/bind") $(state_of 51760)"
expect "only once" 1 "$(status_of test -e "$record")"
rm -r "$root/sys/bus/xen/devices/vbd-51760"

# All names of a served disk are accepted.
hold 768 xvda
serve hda --take --unix "$dir/nbd.sock" --request-deadline 500ms --pages 300 --strict-flush --trust-backend-cache
expect "it was taken over" vbd-768 "$(cat "$vbd/unbind")"
rm -r "$root/sys/bus/xen/devices/vbd-768"
for word in xvda /dev/xvda hda 768 device/vbd/768; do
  expect_line "status of $word" '^xvda: connected, 64 MiB' "$(refused status "$word")"
done
expect "in JSON" "xvda hda 768 xvda False 0 cache 0 0" "$(in_guest "$disk" status --json | python3 -c '
import json, sys
disk = json.load(sys.stdin)["disks"][0]
print(disk["name"], disk["toolstack_name"], disk["devid"], disk["export"], disk["stalls"]["now"],
  disk["stalls"]["count"], *disk["durability"].values())')"
expect "--pages limits the granted pages" True "$(in_guest "$disk" status --json | python3 -c '
import json, sys
print(0 < json.load(sys.stdin)["disks"][0]["device"]["pages"] <= 300)')"
"$sim" disk --dir "$host" fault hda stall
expect "--request-deadline fails requests that the backend does not answer" EIO "$(python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"xvda")
print(error_name(c.error_of(READ, 0, 4096)))' "$here" "$dir/nbd.sock")"
"$sim" disk --dir "$host" fault hda none
kill -TERM "$server"
expect_end "an orderly end" 0

# Without a deadline, clients wait until a stall ends.
serve hda --unix "$dir/nbd.sock"
"$sim" disk --dir "$host" fault hda stall
python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"xvda")
c.send(request(READ, 0, 4096))
open(sys.argv[3], "w").close()
c.socket.settimeout(30)
print(len(c.receive(16)))' "$here" "$dir/nbd.sock" "$dir/asked" >"$dir/client" 2>&1 &
client=$!
wait_for "a client has sent a request" test -e "$dir/asked"
sleep 1
expect "the client waits" 0 "$(status_of kill -0 "$client")"
"$sim" disk --dir "$host" fault hda none
wait "$client" || true
expect "the request is answered" 16 "$(cat "$dir/client")"
kill -TERM "$server"
expect_end "an orderly end" 0

# These options are common to all commands that open a disk.
for command in serve run attach bench; do
  help=$(in_guest "$disk" "$command" --help)
  for option in take force request-deadline recovery-timeout strict-flush trust-backend-cache pages queues; do
    expect_line "$command --$option" "^ +--$option( |$)" "$help"
  done
done

# A server that is stopped while it waits for a slow backend returns the disk.
"$sim" stop --dir "$host"
rm -rf "$host"
"$sim" start --dir "$host" --disk hda,memory=8M --fault store-slow=100ms
hold 768 xvda
"$sim" exec --dir "$host" --domain 1 -- "$disk" serve hda --take --unix "$dir/nbd.sock" >"$dir/out" 2>"$dir/log" &
server=$!
wait_for "the disk is taken over" test -s "$vbd/unbind"
kill -TERM "$server"
expect_end "a server that is stopped while it connects" 0
expect_line "it logs that it is waiting" 'xvda: signal 15: stopping once the backend has answered' "$(cat "$dir/log")"
expect "the disk is returned" "vbd-768 1" "$(cat "$vbd/bind") $(state_of 768)"
expect "it was never served" "" "$(cat "$dir/out")"
passed
