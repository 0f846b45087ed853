#!/usr/bin/env bash
# nbd_clients.sh XENPV_SIM XENPV_DISK: tests xenpv-disk in the simulator with third-party NBD
# clients.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo nbdcopy nbdkit qemu-img qemu-io python3

# on_disk OPTION... -- CMD: runs CMD while the disk is served in domain 1, with $uri set to its URI
on_disk() {
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  "$sim" run --disk xvdb,memory=64M,queues=2 --disk xvdc,memory=64M,backend=qemu,sector=4096 \
    --disk xvdd,memory=64M,ro --disk xvde,memory=64M,no-flush,no-barrier \
    -- "$disk" run "${options[@]}" -- bash -euo pipefail -c "$1" on_disk "$here" "$dir"
}

for name in xvdb xvdc; do
  expect "$name: size by nbdinfo" 67108864 "$(on_disk $name -- 'nbdinfo --size "$uri"')"
  for can in connect read write zero fast-zero trim flush fua df multi-conn; do
    expect "$name: nbdinfo --can $can" 0 "$(status_of on_disk $name -- "nbdinfo --can $can \"\$uri\"")"
  done
  expect "$name: nbdcopy to the disk and back, four connections" same "$(on_disk $name -- '
    nbdkit -U - pattern 64M --run "nbdcopy \"\$uri\" $2/pattern.img"
    nbdcopy --connections=4 "$2/pattern.img" "$uri"
    nbdcopy --connections=4 "$uri" "$2/back.img"
    cmp "$2/pattern.img" "$2/back.img" && echo same')"
  expect "$name: qemu-img convert and compare" "Images are identical." "$(on_disk $name -- '
    qemu-img convert -n -f raw -O raw "$2/pattern.img" "$uri"
    qemu-img compare -f raw -F raw "$2/pattern.img" "$uri"')"
  expect "$name: qemu-io, odd sizes, zeros, FUA, discard and flush" 0 "$(status_of on_disk $name -- '
    qemu-io -f raw -c "write -P 0xab 0 1M" -c "read -P 0xab 0 1M" -c "write -z 512k 256k" \
      -c "read -P 0 512k 256k" -c "write -f -P 9 64k 4k" -c "read -P 9 64k 4k" \
      -c "write -P 7 1000001 999" -c "read -P 7 1000001 999" -c "discard 4M 1M" -c flush "$uri"')"
  expect "$name: nbdkit as a client, with a filter" 0 "$(status_of on_disk $name -- '
    nbdkit -U - nbd socket="$unixsocket" export="'$name'" --filter=blocksize maxlen=4096 \
      --run "qemu-io -f raw -c \"write -P 3 0 2M\" -c \"read -P 3 0 2M\" \$uri"')"
  checked=$(on_disk $name -- 'python3 "$1/nbd_conformance.py" "unix:$unixsocket" '$name || true)
  expect_line "$name: conformance" ' 0 failed' "$checked"
  expect_line "$name: no metadata contexts" '^ok metadata_contexts: ERR_UNSUP$' "$checked"
done
checked=$(on_disk xvdd -- 'python3 "$1/nbd_conformance.py" "unix:$unixsocket" xvdd --read-only --no-flush' || true)
expect_line "conformance of a read-only disk" ' 0 failed' "$checked"
checked=$(on_disk xvde -- 'python3 "$1/nbd_conformance.py" "unix:$unixsocket" xvde --no-flush' || true)
expect_line "conformance of a disk without flush" ' 0 failed' "$checked"
checked=$(on_disk xvdb -- 'python3 "$1/nbd_conformance.py" "unix:$unixsocket" xvdb --deadline 10 \
  --only handshake_is_dropped' || true)
expect_line "a handshake times out after ten seconds" '^ok idle_handshake_is_dropped: after (9|10|11)' "$checked"
expect_line "a handshake sent byte by byte also times out" '^ok trickling_handshake_is_dropped: after (9|10|11)' "$checked"
expect "a read-only disk is exported read-only" 0 "$(status_of on_disk xvdd -- 'nbdinfo --is read-only "$uri"')"
expect "a disk without flush support does not offer it" 2 "$(status_of on_disk xvde -- 'nbdinfo --can flush "$uri"')"
expect "--read-only applies to clients" 2 "$(status_of on_disk xvdb --read-only -- 'nbdinfo --can write "$uri"')"
expect_line "an unknown disk" "available: xvdb, xvdc, xvdd, xvde" \
  "$(on_disk xvdz -- true 2>&1 || true)"
expect "xenpv-disk run returns the command's exit status" 3 "$(status_of on_disk xvdb -- 'exit 3')"

# A long-running server on TCP and on a Unix socket: status and orderly shutdown.
"$sim" start --dir "$host" --disk xvdb,memory=64M
in_guest() { "$sim" exec --dir "$host" --domain 1 -- "$@"; }
mkfifo "$dir/ready"
"$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$dir/nbd.sock" \
  --tcp 127.0.0.1:0 --pid-file "$dir/pid" >"$dir/ready" 2>"$dir/log" &
server=$!
exec 3<"$dir/ready"
read -r uri <&3
expect "serve prints the URI first" "nbd+unix:///xvdb?socket=$dir/nbd.sock" "$uri"
read -r over_tcp <&3
read -r line <&3
expect "serve then prints the nbd-client line" "nbd-client -unix $dir/nbd.sock -N xvdb -b 512 /dev/nbd0" "$line"
expect "a second server of the disk is refused" 1 "$(status_of in_guest "$disk" serve xvdb)"
port=${over_tcp##*:}
checked=$(python3 "$here/nbd_conformance.py" "tcp:127.0.0.1:${port%/*}" xvdb || true)
expect_line "conformance over TCP" ' 0 failed' "$checked"
before=$(in_guest "$disk" status --prometheus | sed -n 's/^xenpv_disk_bytes_total{disk="xvdb",operation="write"} //p')
nbdcopy "$dir/pattern.img" "$uri"
expect_line "status in JSON" '"accepted": [1-9]' "$(in_guest "$disk" status xvdb --json)"
expect_line "status for Prometheus" 'xenpv_disk_bytes_total\{disk="xvdb",operation="write"\} '$((before + 67108864)) \
  "$(in_guest "$disk" status --prometheus)"
expect "list shows that a process serves the disk" process \
  "$(in_guest "$disk" list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["disks"][0]["holder"])')"
kill -TERM "$server"
ended=0
wait "$server" || ended=$?
expect "after SIGTERM the exit status is 0" 0 "$ended"
expect "the socket is removed" 1 "$(status_of test -e "$dir/nbd.sock")"
expect "the disk is closed" 6 "$(in_guest xenstore-read device/vbd/51728/state)"
passed
