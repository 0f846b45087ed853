#!/usr/bin/env bash
# qemu_backend.sh XENPV_SIM XENPV_DISK: tests xenpv-disk and third-party NBD clients on disks that
# QEMU's own block backend serves (backend=qemu-real). QEMU's logs are shown after a failure.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo nbdcopy nbdkit qemu-img qemu-io python3 xenstore-read
# check.sh's wait_for shows $dir/*.log.
export XENPV_SIM_BACKEND_LOG=$dir
show_logs() { tail -n 40 "$dir"/backend-*.log 2>/dev/null || true; }
trap 'status=$?; if [ $status -ne 0 ] && [ $status -ne 77 ]; then show_logs; fi
  jobs -p | xargs -r kill -9 2>/dev/null || true; "$sim" stop --dir "$host" 2>/dev/null || true
  rm -rf "$dir"; exit $status' EXIT

size=$((64 << 20))
truncate -s "$size" "$dir/xvdb" "$dir/xvdc"
truncate -s 8M "$dir/xvdd"
disks=(--disk "xvdb,file=$dir/xvdb,backend=qemu-real" --disk "xvdc,file=$dir/xvdc,backend=qemu-real"
  --disk "xvdd,file=$dir/xvdd,cdrom,ro,backend=qemu-real")
status=0
"$sim" start --dir "$host" "${disks[@]}" || status=$?
if [ "$status" = 77 ]; then
  echo "skipped: QEMU is not installed"
  exit 77
fi
expect "the host starts" 0 "$status"
source "$here/serve.sh"
node() { in_domain 0 xenstore-read "backend/qdisk/1/$1"; }
expect "QEMU announces xvdb" 2 "$(node 51728/state)"
expect "QEMU announces xvdc" 2 "$(node 51744/state)"
expect "one QEMU serves all disks of the guest" "xvdb xvdc xvdd" "$("$sim" status --dir "$host" | python3 -c '
import json, sys
backends = json.load(sys.stdin)["backends"]
assert len(backends) == 1, backends
print(*backends[0]["disks"])')"

# NBD clients.
serve xvdb --unix "$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$dir/nbd.sock"
expect "size by nbdinfo" "$size" "$(nbdinfo --size "$uri")"
for can in read write zero trim flush fua multi-conn; do
  expect "nbdinfo --can $can" 0 "$(status_of nbdinfo --can "$can" "$uri")"
done
nbdkit -U - pattern 64M --run "nbdcopy \"\$uri\" $dir/pattern.img"
nbdcopy --flush --connections=4 "$dir/pattern.img" "$uri"
nbdcopy --connections=4 "$uri" "$dir/back.img"
expect "nbdcopy to the disk and back" 0 "$(status_of cmp "$dir/pattern.img" "$dir/back.img")"
expect "QEMU has written the file" 0 "$(status_of cmp "$dir/pattern.img" "$dir/xvdb")"
expect "qemu-img compare" "Images are identical." "$(qemu-img compare -f raw -F raw "$dir/pattern.img" "$uri")"
expect "qemu-io, odd sizes, zeros, FUA, discard and flush" 0 "$(status_of qemu-io -f raw \
  -c "write -P 0xab 0 1M" -c "read -P 0xab 0 1M" -c "write -z 512k 256k" -c "read -P 0 512k 256k" \
  -c "write -f -P 9 64k 4k" -c "read -P 9 64k 4k" -c "write -P 7 1000001 999" -c "read -P 7 1000001 999" \
  -c "discard 4M 1M" -c flush "$uri")"
checked=$(python3 "$here/nbd_conformance.py" "unix:$dir/nbd.sock" xvdb || true)
expect_line "conformance" ' 0 failed' "$checked"

kill -TERM "$server"
expect_end "an orderly end" 0
expect "the disk is closed" 6 "$(state_of 51728)"

# QEMU is killed while a client writes: the client only sees a pause. The data survives in the page
# cache, so a flush after the loss need not fail.
serve xvdb --unix "$dir/nbd.sock" --trust-backend-cache
reconnects() {
  in_guest "$disk" status xvdb --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["disks"][0]["recovery"]["reconnects"])'
}
has_reconnected() { [ "$(reconnects)" -ge "$1" ]; }
(for round in 1 2 3 4 5 6; do nbdcopy --flush --connections=1 --requests=8 "$dir/pattern.img" "$uri"; done) &
client=$!
for i in 1 2 3; do
  sleep "0.$i"
  "$sim" disk --dir "$host" restart xvdb
  wait_for "the server reconnects after death $i of QEMU" has_reconnected "$i"
done
status=0
wait "$client" || status=$?
expect "nbdcopy survives three deaths of QEMU" 0 "$status"
expect "the data is complete" "Images are identical." "$(qemu-img compare -f raw -F raw "$dir/pattern.img" "$uri")"
expect "status counts the restarts" 3 "$("$sim" status --dir "$host" | python3 -c '
import json, sys
print(json.load(sys.stdin)["backends"][0]["restarts"])')"

# Resize.
"$sim" disk --dir "$host" resize xvdb 96M
is_resized() { [ "$(nbdinfo --size "$uri")" = $((96 << 20)) ]; }
wait_for "the server notices the resize" is_resized
expect "QEMU has resized the file" $((96 << 20)) "$(stat -c %s "$dir/xvdb")"
expect "resize to a partial sector" 2 "$(status_of "$sim" disk --dir "$host" resize xvdb 1000)"
expect "faults cannot be injected" 2 "$(status_of "$sim" disk --dir "$host" fault xvdb error=3)"
kill -TERM "$server"
expect_end "an orderly end" 0
expect "the disk is closed" 6 "$(state_of 51728)"

# A read-only disk.
serve xvdd --unix "$dir/ro.sock"
expect "a read-only disk is exported read-only" 0 \
  "$(status_of nbdinfo --is read-only "nbd+unix:///xvdd?socket=$dir/ro.sock")"
kill -TERM "$server"
expect_end "an orderly end of the read-only server" 0

# Unplug and the death of the guest.
"$sim" disk --dir "$host" unplug xvdc
expect "unplug removes the frontend directory" 1 "$(status_of in_domain 1 xenstore-exists device/vbd/51744)"
expect "unplug removes the backend directory" 1 "$(status_of in_domain 0 xenstore-exists backend/qdisk/1/51744)"
"$sim" domain destroy --dir "$host" 1
expect "QEMU ends with its guest" '[]' "$("$sim" status --dir "$host" | python3 -c '
import json, sys
print(json.load(sys.stdin)["backends"])')"
passed
