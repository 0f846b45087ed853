#!/usr/bin/env bash
# nbd_exports.sh XENPV_SIM XENPV_DISK: tests servers with several exports: several disks, parts of a disk, and the
# commands that change a running server (reload, disconnect).
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo nbdcopy sfdisk psktool qemu-io python3
python() { /usr/bin/python3 "$@"; } # the one for which Debian packages libnbd
python -c 'import nbd' 2>/dev/null || { echo "skipped: python3-libnbd is not installed"; exit 77; }

# A disk with two partitions, each filled with its own byte.
image="$dir/partitions.img"
truncate -s 16M "$image"
printf '2048,4096\n8192,8192\n' | sfdisk -q "$image"
python - "$image" <<'END'
import sys
with open(sys.argv[1], "r+b") as image:
    for first, count, byte in ((2048, 4096, b"1"), (8192, 8192, b"2")):
        image.seek(first * 512)
        image.write(byte * (count * 512))
END
"$sim" start --dir "$host" --disk xvdb,memory=64M --disk "xvdc,file=$image" --disk xvdd,memory=8M
source "$here/serve.sh"
socket="$dir/nbd.sock"
uri() { echo "nbd+unix:///$1?socket=$socket"; }
exports() {
  nbdinfo --list --json "nbd+unix:///?socket=$socket" |
    python -c 'import json, sys
for e in json.load(sys.stdin)["exports"]: print(e["export-name"], e["export-size"], "ro" if e["is_read_only"] else "rw")'
}
stop() {
  kill -TERM "$server"
  expect_end "the exit status" 0
}

# Several disks on one socket.
serve xvdb xvdd,name=data,read-only --unix "$socket"
expect "both disks are exported" $'xvdb 67108864 rw\ndata 8388608 ro' "$(exports)"
expect "a client that names no export gets the first" 67108864 "$(nbdinfo --size "$(uri '')")"
expect_line "each export has its URI" '/data\?socket=' "$(<"$dir/out")"
expect_line "each export has its command" '^nbd-client -unix .* -N data -b 512 /dev/nbd0$' "$(<"$dir/out")"
dd if=/dev/urandom of="$dir/data" bs=1M count=64 status=none
nbdcopy "$dir/data" "$(uri xvdb)"
nbdcopy "$(uri xvdb)" "$dir/copy"
expect "the data of one disk" 0 "$(status_of cmp "$dir/data" "$dir/copy")"
expect_line "the read-only export refuses writes" 'read.only|not permitted|Permission denied' \
  "$(qemu-io -f raw -c 'write 0 4k' "$(uri data)" 2>&1 || true)"
expect "status shows both disks" 'xvdb xvdd' \
  "$(in_guest "$disk" status --json | python -c 'import json, sys; print(*[d["name"] for d in json.load(sys.stdin)["disks"]])')"
stop
expect "the first disk is closed" 6 "$(state_of 51728)"
expect "the second disk is closed" 6 "$(state_of 51760)"

# Parts of a disk: the bytes beyond a part stay as they are.
serve xvdc,partition=1,read-only xvdc,partition=2,default xvdb,offset=1M,size=2M,name=window --unix "$socket"
expect "the parts are exported" $'xvdc1 2097152 ro\nxvdc2 4194304 rw\nwindow 2097152 rw' "$(exports)"
expect "the default export" 4194304 "$(nbdinfo --size "$(uri '')")"
expect "the contents of the first partition" 1 "$(nbdcopy "$(uri xvdc1)" - | tr -s 1)"
expect "the contents of the second partition" 2 "$(nbdcopy "$(uri xvdc2)" - | tr -s 2)"
head -c 2M /dev/zero | tr '\0' 'w' >"$dir/part"
nbdcopy "$dir/part" "$(uri window)"
expect_line "a write beyond the end of a part is refused" 'No space left|Invalid argument' \
  "$(python -c 'import nbd, sys
h = nbd.NBD(); h.set_strict_mode(0); h.connect_uri(sys.argv[1])
try: h.pwrite(b"x" * 512, 2 << 20)
except nbd.Error as e: print(e)' "$(uri window)")"
stop
cp "$dir/data" "$dir/expected"
dd if="$dir/part" of="$dir/expected" bs=1M seek=1 conv=notrunc status=none
serve xvdb --unix "$socket"
nbdcopy "$(uri xvdb)" "$dir/copy"
expect "the window was written, and nothing else" 0 "$(status_of cmp "$dir/expected" "$dir/copy")"
stop

# The same by options.
serve xvdc --unix "$socket" --partition 2 --name second
expect "--partition and --name" 'second 4194304 rw' "$(exports)"
stop
in_guest "$disk" run xvdc -P 1 -- sh -c 'nbdcopy "$uri" -' >"$dir/copy" 2>/dev/null
expect "run exports a partition" 1 "$(tr -s 1 <"$dir/copy")"

# Mistakes are reported before a disk is connected, or at least before a client can connect.
refused() {
  local what=$1 status=$2 line=$3 actual=0
  shift 3
  in_guest "$disk" serve "$@" --unix "$socket" >"$dir/log" 2>&1 || actual=$?
  expect "$what: status" "$status" "$actual"
  expect_line "$what" "$line" "$(<"$dir/log")"
}
refused "an unknown word" 2 "export 'xvdb,readonly': expected DISK, followed by any of" xvdb,readonly
refused "a part given twice" 2 "offset is given twice" xvdb,offset=0,offset=1
refused "a partition with an offset" 2 "a partition has its own offset and size" xvdb,partition=1,offset=4k
refused "a name for several exports" 2 "set them for each export instead" xvdb xvdd --name x
refused "two defaults" 2 "several exports are marked as the default" xvdb,default xvdd,default
refused "the same name twice" 2 "an export with this name already exists" xvdb xvdd,name=xvdb
refused "two names of one disk" 2 "serve xvdb: .*given twice, as xvdb and as 51728" xvdb,name=a 51728,name=b
refused "a part beyond the end" 2 "but the device has 8388608 bytes" xvdd,offset=4M,size=8M
refused "a missing partition" 1 "xvdc: .*partition 3" xvdc,partition=3
refused "a disk without a partition table" 1 "^xenpv-disk: xvdd: .*the disk has none" xvdd,partition=1
expect "the disk is closed afterwards" 6 "$(state_of 51760)"

# Reload: new clients need the new key or rule; connected clients stay.
psktool -u alice -p "$dir/keys" >/dev/null 2>&1
echo 'allow rw psk:alice' >"$dir/access"
: >"$dir/out" # nbd-client does not support keys, so there is no line for it
"$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$socket" --tls-psk "$dir/keys" \
  --access "$dir/access" >"$dir/out" 2>"$dir/log" &
server=$!
wait_for "the server listens" grep -q '^nbds' "$dir/out"
secure() { echo "nbds+unix://$1@/xvdb?socket=$socket&tls-psk-file=$dir/keys"; }
expect "alice can connect" 67108864 "$(nbdinfo --size "$(secure alice)")"
python - "$(secure alice)" "$dir" <<'END' &
import nbd, os, sys, time
h = nbd.NBD()
h.set_uri_allow_local_file(True)
h.connect_uri(sys.argv[1])
open(sys.argv[2] + "/connected", "w").close()
while not os.path.exists(sys.argv[2] + "/reloaded"):
    time.sleep(0.02)
h.pread(512, 0)
open(sys.argv[2] + "/stayed", "w").close()
try:
    while True:
        h.pread(512, 0)
        time.sleep(0.02)
except nbd.Error:
    open(sys.argv[2] + "/ended", "w").close()
END
client=$!
wait_for "the client is connected" test -e "$dir/connected"
psktool -u bob -p "$dir/keys" >/dev/null 2>&1
expect "an unknown key is refused" 1 "$(status_of nbdinfo --size "$(secure bob)")"
echo 'allow ro psk:bob' >"$dir/access"
in_guest "$disk" reload xvdb
: >"$dir/reloaded"
wait_for "the connected client stays" test -e "$dir/stayed"
expect "bob can connect" 67108864 "$(nbdinfo --size "$(secure bob)")"
expect "bob can only read" 0 "$(status_of nbdinfo --is read-only "$(secure bob)")"
expect "alice can no longer connect" 1 "$(status_of nbdinfo --size "$(secure alice)")"

# An invalid file changes nothing.
echo 'permit bob' >"$dir/access"
actual=0
in_guest "$disk" reload xvdb 2>"$dir/errors" || actual=$?
expect "a failed reload: status" 1 "$actual"
expect_line "a failed reload names the line" "/access:1: " "$(<"$dir/errors")"
expect "bob can still connect" 67108864 "$(nbdinfo --size "$(secure bob)")"
expect_line "the failure is logged" 'cannot reload: .*\(the previous configuration stays in effect\)' "$(<"$dir/log")"
echo 'allow rw psk:*' >"$dir/access"
kill -HUP "$server"
wait_for "SIGHUP reloads, too" nbdinfo --size "$(secure alice)"

# Disconnect the client that has stayed.
number=$(in_guest "$disk" status xvdb --json |
  python -c 'import json, sys; print(json.load(sys.stdin)["disks"][0]["server"]["clients"][0]["number"])')
expect_line "status shows who it is" "^ *$number +psk:alice +unix +" "$(in_guest "$disk" status xvdb)"
expect "an unknown client" 1 "$(status_of in_guest "$disk" disconnect xvdb 4711)"
in_guest "$disk" disconnect xvdb "$number"
wait_for "the client is disconnected" test -e "$dir/ended"
wait "$client"
stop

# A server without files to read.
serve xvdb --unix "$socket"
in_guest "$disk" reload xvdb
expect "a server continues without its first client" 67108864 "$(nbdinfo --size "$(uri xvdb)")"
stop

# One of two disks is unplugged; the other one is still served. New clients of the lost disk are refused with the
# reason; a connected client first gets an error, then its connection is closed.
serve xvdb xvdd --unix "$socket"
python - "$(uri xvdd)" "$dir" <<'END' &
import errno, nbd, os, sys, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.pread(512, 0)
open(sys.argv[2] + "/reading", "w").close()
errors = []
while h.aio_is_ready():
    try:
        h.pread(512, 0)
    except nbd.Error as e:
        errors.append(e.errnum)
    time.sleep(0.02)
open(sys.argv[2] + "/first-error", "w").write(errno.errorcode[errors[0]])
END
client=$!
wait_for "the client reads" test -e "$dir/reading"
"$sim" disk --dir "$host" unplug xvdd
wait_for "the loss is logged" grep -q 'xvdd: .*the other disks are still served' "$dir/log"
wait_for "the client of the lost disk is disconnected" test -e "$dir/first-error"
wait "$client"
expect "its first error" ESHUTDOWN "$(<"$dir/first-error")"
expect "the other disk is served" 0 "$(status_of qemu-io -f raw -c 'write 0 4k' -c flush "$(uri xvdb)")"
expect "the lost disk is not listed" 'xvdb 67108864 rw' "$(exports)"
expect_line "a new client hears why the lost disk is gone" "export 'xvdd' is not available: .*device/vbd/51760" \
  "$(qemu-io -f raw -c 'read 0 4k' "$(uri xvdd)" 2>&1 || true)"
expect "libnbd reports an unknown export" 1 "$(status_of nbdinfo --size "$(uri xvdd)")"
wait_for "the log says why, too" grep -q "NBD_OPT_GO: export 'xvdd' is not available" "$dir/log"
"$sim" disk --dir "$host" unplug xvdb
expect_end "the last disk ends the server" 1
passed
