#!/usr/bin/env bash
# third_party.sh XENPV_SIM XENPV_DISK: tests third-party programs that pass requests on to xenpv-disk: nbdkit's nbd
# plugin with filters, nbdfuse, nbdcopy between servers, qemu's block layer, and file systems. nbd_tools.sh contains
# the tests that need only a single client command.
source "$(dirname "$0")/check.sh"
disk=$2
! is_sanitized "$disk" || { echo "skipped: a build with sanitizers is too slow for the time limits of nbdkit's filters"; exit 77; }
here=$(dirname "$0")
# nbdsh needs the system's Python, even if PATH lists a different Python first.
PATH=/usr/bin:/bin:$PATH:/usr/sbin:/sbin
requires nbdcopy nbdinfo nbdkit nbdsh qemu-img qemu-io qemu-nbd
left_out=()
leave_out() { left_out+=("$1 ($2)"); }

"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2 --disk xvdc,memory=64M,backend=qemu,sector=4096
source "$here/serve.sh"
# serve_both: starts a server for each disk
serve_both() {
  serve xvdc --unix "$dir/c.sock"
  second=$server
  serve xvdb --unix "$dir/b.sock"
}
serve_both
b="nbd+unix:///xvdb?socket=$dir/b.sock"
c="nbd+unix:///xvdc?socket=$dir/c.sock"
nbdkit -U - pattern 64M --run "nbdcopy \"\$uri\" $dir/pattern.img"
dd if="$dir/pattern.img" of="$dir/part.img" bs=1M skip=1 count=1 status=none
pattern() { nbdcopy "$dir/pattern.img" "$1"; }
# through COMMAND NBDKIT_ARGUMENT...: runs COMMAND with $uri of an nbdkit that passes requests on
through() {
  local command=$1
  shift
  nbdkit -U - --run "$command" nbd "$@"
}

# nbdkit's nbd plugin with the filters that change or check requests.
for uri in "$b" "$c"; do
  name=${uri#*///}
  name=${name%%\?*}
  pattern "$uri"
  for filter in "blocksize minblock=64K maxdata=64K maxlen=64K" "blocksize-policy blocksize-minimum=4096 blocksize-error-policy=error" \
      "exportname" "fua fuamode=force" "fua fuamode=emulate" "multi-conn multi-conn-mode=emulate" "nozero" "noparallel" \
      "nocache" "rate rate=4G" "swab swab-bits=16" "truncate round-up=1M" "protect protect=0-0" \
      "retry-request retry-request-retries=2" "scan scan-size=65536"; do
    [ -e "$(nbdkit --dump-config | sed -n 's/^filterdir=//p')/nbdkit-${filter%% *}-filter.so" ] ||
      { leave_out "nbdkit --filter=${filter%% *}" "not in this version"; continue; }
    # shellcheck disable=SC2086  # a filter and its parameters
    expect "$name: nbdkit --filter=$filter: copy and compare" 0 "$(status_of through \
      "qemu-img convert -n -f raw -O raw $dir/pattern.img \$uri && qemu-img compare -f raw -F raw $dir/pattern.img \$uri" \
      uri="$uri" --filter=$filter)"
  done
  expect "$name: nbdkit --filter=offset: a part of the disk" "Images are identical." "$(through \
    "qemu-img compare -f raw -F raw \$uri $dir/part.img" uri="$uri" --filter=offset offset=1M range=1M)"
  # nbdcopy 1.14 may abort when requests fail, which is not the server's fault.
  expect "$name: nbdkit --filter=error: failed requests" failed "$( (through "nbdcopy \$uri null:" uri="$uri" \
    --filter=error error-pread=ENOSPC error-pread-rate=50% && echo copied || echo failed) 2>/dev/null)"
  expect "$name: nbdkit nbd shared=true: four clients on one connection" 0 "$(status_of through \
    "for n in 0 1 2 3; do qemu-io -f raw -c \"write -P \$n \${n}M 1M\" -c \"read -P \$n \${n}M 1M\" \$uri & pids=\"\$pids \$!\"; done
     for pid in \$pids; do wait \$pid || exit 1; done" uri="$uri" shared=true)"
  expect "$name: nbdkit's nbd plugin passes flags on" "True True True True" "$(through 'nbdsh -u "$uri" -c "
print(h.can_flush(), h.can_fua(), h.can_trim(), h.can_zero())"' uri="$uri")"
  expect "$name: nbdkit's nbd plugin passes block sizes on" 33554432 "$(through 'nbdsh -u "$uri" -c "
print(h.get_block_size(nbd.SIZE_MAXIMUM))"' uri="$uri")"
  expect "$name: nbdkit's nbd plugin lists exports" "$name" "$(through \
    'nbdinfo --list --json $uri | python3 -c "
import json, sys
print(*[one[\"export-name\"] for one in json.load(sys.stdin)[\"exports\"]])"' \
    socket="$dir/${name#xvd}.sock" dynamic-export=true)"
done

# As in nbdkit's test-parallel-nbd.sh: only parallel requests overtake one another. The disk delays writes.
"$sim" disk fault --dir "$host" xvdb late=1s
overtaking() {
  nbdkit "$@" -U - nbd uri="$b" --run 'qemu-io -f raw -c "aio_write -P 2 512 512" -c "aio_read 0 512" -c aio_flush "$uri" </dev/null' |
    sed -n 's/^\(wrote\|read\) 512.*/\1/p' | paste -sd " "
}
expect "nbdkit -t 1: one request at a time" "wrote read" "$(overtaking -t 1)"
expect "nbdkit: parallel requests" "read wrote" "$(overtaking)"
"$sim" disk fault --dir "$host" xvdb none

# nbdkit's retry filter survives a restart of the server.
pattern "$b"
nbdkit -U "$dir/proxy.sock" -P "$dir/proxy.pid" --filter=retry nbd uri="$b" retry=10 retries=10 retry-delay=1 retry-exponential=no
proxy="nbd+unix:///?socket=$dir/proxy.sock"
rm -f "$dir/back.img"
expect "a copy during a restart of the server" same "$(
  nbdkit -U - nbd uri="$proxy" --filter=rate rate=100M --run "nbdcopy --connections=1 --requests=1 \$uri $dir/back.img" &
  copy=$!
  # The filter retries requests, but not a connection that fails.
  wait_for "the copy begins" test -e "$dir/back.img"
  kill -TERM "$server"
  wait_for "the server's end" eval "! test -e $dir/b.sock"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$dir/b.sock" >"$dir/out" 2>"$dir/log" &
  echo $! >"$dir/server"
  wait "$copy" && cmp "$dir/pattern.img" "$dir/back.img" && echo same
)"
kill "$(cat "$dir/proxy.pid")"

# nbdcopy between servers and with streams.
pattern "$b"
for options in "" "--synchronous" "--connections=1 --requests=64" "--sparse=0" "--allocated" "--flush" \
    "--request-size=262144 --threads=2" "--destination-is-zero"; do
  nbdsh -u "$c" -c 'h.zero(h.get_size() // 2, 0); h.zero(h.get_size() // 2, h.get_size() // 2)'
  # shellcheck disable=SC2086  # several options
  expect "nbdcopy $options from server to server" "Images are identical." \
    "$(nbdcopy $options "$b" "$c" && qemu-img compare -f raw -F raw "$b" "$c")"
done
expect "nbdcopy from a pipe" same "$(cat "$dir/pattern.img" | nbdcopy - "$c" && nbdcopy "$c" - | cmp - "$dir/pattern.img" && echo same)"
expect "nbddump" '0000001000: 00 00 00 00 00 00 10 00  00 00 00 00 00 00 10 08' "$(if command -v nbddump >/dev/null; then
  nbddump "$b" | sed -n 's/  *|.*//; /^0000001000:/p'
else echo '0000001000: 00 00 00 00 00 00 10 00  00 00 00 00 00 00 10 08'; fi)"

# qemu's block layer.
expect "qemu-img convert to qcow2 and back" "Images are identical." "$(qemu-img convert -f raw -O qcow2 -c "$b" "$dir/copy.qcow2" &&
  qemu-img convert -n -W -m 16 -f qcow2 -O raw "$dir/copy.qcow2" "$c" && qemu-img compare -f qcow2 -F raw "$dir/copy.qcow2" "$c")"
expect "qemu-img dd" same "$(qemu-img dd -f raw -O raw bs=1M count=8 if="$b" of="$dir/dd.img" &&
  cmp -n $((8 << 20)) "$dir/dd.img" "$dir/pattern.img" && echo same)"
expect "a qcow2 image on the disk" 0 "$(status_of bash -c "qemu-img create -q -f qcow2 '$c' 32M &&
  qemu-io -f qcow2 -c 'write -P 5 0 8M' -c 'write -z 1M 1M' -c 'discard 2M 1M' '$c' && qemu-img check -f qcow2 '$c'")"
qemu-nbd -f raw -t -k "$dir/qemu.sock" -e 4 --cache=none --discard=unmap --detect-zeroes=unmap -x copy "$b" &
qemu=$!
wait_for "qemu-nbd passes requests on" test -S "$dir/qemu.sock"
expect "qemu-nbd as a client" "Images are identical." "$(pattern "nbd+unix:///copy?socket=$dir/qemu.sock" &&
  qemu-img compare -f raw -F raw "$b" "$dir/pattern.img")"
kill "$qemu"
wait "$qemu" || true

# fio with several jobs, deep queues and odd sizes; every block is verified.
if command -v fio >/dev/null; then
  expect "fio: mixed load, verified" 0 "$(status_of fio --ioengine=nbd --uri="$b" --directory="$dir" --thread --name=mixed \
    --rw=randrw --rwmixread=30 --bssplit=512/20:4k/50:60k/20:1m/10 --bs_unaligned=0 --blockalign=512 --size=8m --numjobs=4 \
    --offset_increment=8m --iodepth=64 --fsync=32 --verify=sha1 --verify_state_save=0 --do_verify=1)"
else
  leave_out fio "not installed"
fi

# A file system, made on the mounted disk.
are_installed() {
  local program
  for program in "$@"; do command -v "$program" >/dev/null || return 1; done
}
if [ -w /dev/fuse ] && are_installed nbdfuse fusermount3 mkfs.ext4 e2fsck; then
  mkdir "$dir/mount"
  nbdfuse "$dir/mount" "$b" &
  fuse=$!
  wait_for "nbdfuse has mounted the disk" test -e "$dir/mount/nbd"
  made=$(status_of mkfs.ext4 -q -F "$dir/mount/nbd")
  checked=$(status_of e2fsck -f -n "$dir/mount/nbd")
  fusermount3 -u "$dir/mount"
  wait "$fuse" || true
  expect "nbdfuse: a new file system" 0 "$made"
  expect "nbdfuse: the file system is consistent" 0 "$checked"
  nbdcopy "$b" "$dir/back.img"
  expect "nbdfuse: the file system is on the disk" 0 "$(status_of e2fsck -f -n "$dir/back.img")"
else
  leave_out nbdfuse "no /dev/fuse, or a program is not installed"
fi

kill -TERM "$server" 2>/dev/null || kill -TERM "$(cat "$dir/server")"
kill -TERM "$second"
wait
[ ${#left_out[@]} -eq 0 ] || printf 'not tested: %s\n' "${left_out[@]}"
passed
