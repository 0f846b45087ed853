#!/usr/bin/env bash
# disk_output.sh XENPV_SIM XENPV_DISK: tests xenpv-disk list and status, and the names of disks on
# the command line.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdcopy nbdinfo python3
truncate -s 8M "$dir/image"
"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2 --disk xvdc,file="$dir/image" \
  --disk xvdd,file="$dir/image",ro,backend=qemu,sector=4096 --disk xvde,memory=1M,cdrom
source "$here/serve.sh"
# ask_json QUERY ARGUMENT...: evaluates the Python expression QUERY on the JSON output of
# `xenpv-disk ARGUMENT...`. In QUERY, `disks` is the list of disks.
ask_json() {
  local query=$1
  shift
  in_guest "$disk" "$@" --json | python3 -c "
import json, sys
document = json.load(sys.stdin)
disks = document['disks']
print($query)"
}
refused() { in_guest timeout 20 "$disk" "$@" 2>&1 || true; }

# list
listed=$(in_guest "$disk" list)
expect_line "the table has a header" \
  '^NAME +DEVID +SIZE +SECTOR +MODE +TYPE +HOLDER +STATE +BACKEND +BACKEND-STATE +FEATURES$' "$listed"
expect_line "a disk on Linux blkback, which publishes the size when it connects" \
  '^xvdb +51728 +- +512 +w +disk +nobody +Initialising +/local/domain/0/backend/vbd/1/51728 +InitWait +indirect=256,queues=2,ring-order=4$' \
  "$listed"
expect_line "a read-only disk on QEMU" \
  '^xvdd +51760 +8 MiB +4096 +r +disk +nobody +Initialising +/local/domain/0/backend/qdisk/1/51760 +InitWait +flush,discard,ring-order=4$' \
  "$listed"
expect_line "a CD-ROM" '^xvde +51776 .* cdrom ' "$listed"
expect "one line per disk" 5 "$(wc -l <<<"$listed")"
expect "the same in JSON" "xenpv-disk.list 1 xvdb,xvdc,xvdd,xvde" "$(ask_json \
  'document["schema"], document["schema_version"], ",".join(row["name"] for row in disks)' list)"
expect "the keys of a disk" "backend backend_kind backend_state devid features holder mode name params path sector_size size state toolstack_name type" \
  "$(ask_json '" ".join(sorted(disks[0]))' list)"
expect "an unknown value is null" "None 8388608 512 4096" \
  "$(ask_json 'disks[0]["size"], disks[2]["size"], disks[0]["sector_size"], disks[2]["sector_size"]' list)"
expect "a guest without disks" "[]" "$("$sim" run -- "$disk" list --json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["disks"])')"

# Disk names.
for word in xvdb /dev/xvdb 51728 device/vbd/51728; do
  expect "DISK may be $word" 67108864 "$(in_guest "$disk" run "$word" -- sh -c 'nbdinfo --size "$uri"' 2>/dev/null)"
done
expect_line "an image that two disks use is ambiguous" \
  "^xenpv-disk: disk '$dir/image': invalid argument \(ambiguous: matches xvdc, xvdd; specify one\)\$" \
  "$(refused run "$dir/image" -- true)"
expect "an ambiguous name is a usage error" 2 "$(status_of in_guest "$disk" run "$dir/image" -- true)"
expect_line "a missing disk" \
  "^xenpv-disk: disk 'xvdz': not available here \(available: xvdb, xvdc, xvdd, xvde\)\$" "$(refused run xvdz -- true)"
expect "a missing disk has its own exit status" 77 "$(status_of in_guest "$disk" run xvdz -- true)"

# Files in the guest's /sys and /proc simulate a disk that the kernel driver is using.
mkdir -p "$root/sys/bus/xen/devices/vbd-51728/driver" "$root/sys/bus/xen/devices/vbd-51728/block/xvdb" \
  "$root/sys/bus/xen/drivers/vbd" "$root/dev" "$root/proc/812/fd" \
  "$root/sys/block/xvdb/xvdb2/holders/dm-0"
touch "$root/sys/bus/xen/drivers/vbd/unbind" "$root/dev/xvdb"
expect "list shows that the kernel uses it" kernel "$(ask_json 'disks[0]["holder"]' list)"
expect_line "it is not taken over without --take" \
  '^xenpv-disk: serve xvdb: device or resource busy \(the kernel driver is using it; use --take, or as root: echo vbd-51728 > /sys/bus/xen/drivers/vbd/unbind\)$' \
  "$(refused serve xvdb)"
mkdir -p "$root/proc/self"
echo '23 1 202:17 / /srv\040x rw - ext4 /dev/xvdb1 rw' >"$root/proc/self/mountinfo"
ln -s /dev/xvdb "$root/proc/812/fd/3"
echo postgres >"$root/proc/812/comm"
expect_line "it is not taken over while it is in use; the error lists the users" \
  '^xenpv-disk: take xvdb from the kernel: device or resource busy \(it is mounted on /srv x \(/dev/xvdb1\); part of dm-0; open in process 812 \(postgres\)\)$' \
  "$(refused serve xvdb --take)"
expect "it is unchanged" "6 0" "$(state_of 51728) $(stat -c %s "$root/sys/bus/xen/drivers/vbd/unbind")"
rm -r "$root/proc/self" "$root/proc/812" "$root/sys/block"
serve xvdb --take --unix "$dir/nbd.sock"
expect "the driver is unbound when the disk is not in use" vbd-51728 "$(cat "$root/sys/bus/xen/drivers/vbd/unbind")"
rm -r "$root/sys/bus/xen/devices/vbd-51728"
expect "it is served" 67108864 "$(nbdinfo --size "nbd+unix:///xvdb?socket=$dir/nbd.sock")"
expect "list shows that a process serves it" "process Connected 67108864" \
  "$(ask_json 'disks[0]["holder"], disks[0]["state"], disks[0]["size"]' list)"

# status
head -c 1M /dev/urandom >"$dir/data"
truncate -s 64M "$dir/data"
nbdcopy --flush "$dir/data" "nbd+unix:///xvdb?socket=$dir/nbd.sock"
shown=$(in_guest "$disk" status)
expect_line "status names the disk" '^xvdb: connected, 64 MiB, [1-9][0-9]* queues, segments [1-9][0-9]*, 0 clients$' "$shown"
expect_line "status lists the operations" '^write +[1-9][0-9]* +[1-9][0-9]+ +0 +[0-9.]+ [mun]?s +[0-9.]+ [mun]?s +[0-9.]+ [mun]?s$' "$shown"
expect "status in JSON" "xenpv-disk.status 1 xvdb xvdb $server connected" "$(ask_json 'document["schema"],
  document["schema_version"], disks[0]["name"], disks[0]["export"], disks[0]["pid"], disks[0]["device"]["state"]' status xvdb)"
expect "operations add up" "67108864 True 0" "$(ask_json \
  'disks[0]["operations"]["write"]["bytes"], disks[0]["operations"]["flush"]["requests"] > 0,
  sum(operation["errors"] for operation in disks[0]["operations"].values())' status)"
expect "latencies are in order" True "$(ask_json '(lambda t: 0 < t["p50"] <= t["p99"] <= t["p99.9"] <= t["max"])(
  disks[0]["operations"]["write"]["latency_ns"])' status)"
python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"xvdb")
c.read(0, 4096)
c.error_of(READ, 1 << 40, 4096)
open(sys.argv[3], "w").close()
c.receive(1)' "$here" "$dir/nbd.sock" "$dir/asked" 2>/dev/null &
client=$!
wait_for "a client has sent requests" test -e "$dir/asked"
expect "a client's statistics" "unix 2 1 4096 0" "$(ask_json '(lambda c: (c["peer"], c["requests"], c["errors"],
  c["bytes_read"], c["bytes_written"]))(disks[0]["server"]["clients"][0])' status | tr -d "(),'")"
expect_line "the metrics include the client count" '^xenpv_disk_clients\{disk="xvdb"\} 1$' "$(in_guest "$disk" status --prometheus)"
expect_line "the metrics include the byte count" '^xenpv_disk_bytes_total\{disk="xvdb",operation="write"\} 67108864$' \
  "$(in_guest "$disk" status --prometheus)"
expect_line "a disk without a server" \
  '^xenpv-disk: query the server of xvdc: not available here \(no process serves it; start a server with xenpv-disk serve\)$' \
  "$(refused status xvdc)"
kill "$client"

# A server that hangs. A stopped process stands for it.
asked_json() { in_guest "$disk" status "$@" --json 2>/dev/null; echo "status $?"; }
kill -STOP "$server"
hangs="process $server, which serves xvdb: it does not answer; it may be stopped or hang"
expect "status DISK: the process that hangs; a failure, not an absence" \
  "$(printf '%s\n' "xenpv-disk: query the server of xvdb: timed out ($hangs)" "status 1")" \
  "$(in_guest "$disk" status xvdb 2>&1 || echo "status $?")"
expect "status --json: the process that hangs, status 1" \
  "$(printf '[] xvdb %s it does not answer; it may be stopped or hang\nstatus 1' "$server")" \
  "$(asked_json | python3 -c '
import json, sys
text, status = sys.stdin.read().rsplit("status", 1)
document = json.loads(text)
(silent,) = document["silent"]
print(document["disks"], silent["disk"], silent["pid"], silent["reason"])
print("status" + status, end="")')"
expect_line "detach: the process that hangs" \
  "^xenpv-disk: detach xvdb: timed out \\($hangs; if that is the disk, name its device, such as /dev/nbd0\\)\$" \
  "$(refused detach xvdb)"
serve_hanging=$server
serve xvdc --unix "$dir/c.sock"
shown=$(refused status)
expect_line "a server that answers is shown beside it" '^xvdc: connected' "$shown"
expect_line "after it, the one that hangs" "^xenpv-disk: error: $hangs\$" "$shown"
expect "a query of the other one succeeds" 0 "$(status_of in_guest "$disk" status xvdc)"
kill -TERM "$server"
expect_end "the other server ends" 0
server=$serve_hanging
kill -CONT "$server"
expect "the server answers again" 0 "$(status_of in_guest "$disk" status xvdb)"
kill -TERM "$server"
expect_end "an orderly end" 0
expect "status without servers succeeds" 0 "$(ask_json 'len(disks)' status)"
expect "status without servers says so" "xenpv-disk: info: no server is running; start one with xenpv-disk serve" \
  "$(refused status)"

# Addresses. The printed commands and URIs work in any directory and for any names.
cd "$dir"
serve xvdb --unix relative.sock
expect "the URI of a relative path is absolute" "nbd+unix:///xvdb?socket=$dir/relative.sock" "$(head -1 "$dir/out")"
expect "it works elsewhere" 67108864 "$(cd / && nbdinfo --size "$(head -1 "$dir/out")")"
kill -TERM "$server"
expect_end "the server on a relative path ends" 0
expect "its socket is removed" "" "$(ls "$dir/relative.sock" 2>/dev/null || true)"
serve xvdb --unix "$dir/a b;c'd.sock" --name "it's \$HOME"
words() { printf '<%s>' "$@"; }
expect "the nbd-client command means the same to a shell" \
  "<nbd-client><-unix><$dir/a b;c'd.sock><-N><it's \$HOME><-b><512></dev/nbd0>" \
  "$(eval "words $(sed -n 's/^nbd-client/nbd-client/p' "$dir/out")")"
expect "the URI leads to the export" 67108864 "$(nbdinfo --size "$(head -1 "$dir/out")")"
kill -TERM "$server"
expect_end "the server with quotes ends" 0
expect_line "an abstract socket is refused" \
  '^xenpv-disk: socket @x: invalid argument \(an abstract socket has no permissions, so any local user could connect' \
  "$(refused serve xvdb --unix @x)"
expect "no file is left" "" "$(ls @x 2>/dev/null || true)"
cp /etc/hosts hosts
printf '127.0.0.1 twice.test\n127.0.0.1 twice.test\n' >>hosts
if unshare -m mount --bind hosts /etc/hosts 2>/dev/null; then
  : >"$dir/out"
  unshare -m sh -c 'mount --bind "$1" /etc/hosts; shift; exec "$@"' sh "$dir/hosts" \
    "$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --tcp twice.test:0 >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "a host name with the same address twice is served" grep -q '^nbd-client' "$dir/out"
  kill -TERM "$server"
  expect_end "the server on that name ends" 0
fi
: >"$dir/out"
"$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --vsock 0 >"$dir/out" 2>"$dir/log" &
server=$!
wait_for "a vsock port, or the reason" grep -q 'vsock:/\|on vsock port' "$dir/out" "$dir/log"
if grep -q 'does not support vsock' "$dir/log"; then
  expect_line "without vsock, the reason" \
    '^xenpv-disk: listen on vsock port 0: not available here \(this kernel does not support vsock; ' "$(<"$dir/log")"
  expect_end "without vsock, nothing is served" 77
else
  expect_line "the URI of a vsock port" '^nbd\+vsock://[0-9]+:[0-9]+/xvdb$' "$(<"$dir/out")"
  kill -TERM "$server"
  expect_end "the server on vsock ends" 0
fi

# The access list.
printf 'allow ro unix\nallow rw cert:nobody\n' >access
expect "a mistake in the access list: the file and the line" \
  "xenpv-disk: access:2: invalid argument ('nobody' is not a certificate subject such as CN=backup,O=Example)" \
  "$(refused serve xvdb --access access | head -1)"
expect_line "a missing access list" '^xenpv-disk: read nowhere: no such file' "$(refused serve xvdb --access nowhere)"
passed
