#!/usr/bin/env bash
# nbd_tools.sh XENPV_SIM XENPV_DISK: tests all NBD clients of Debian 12 over a Unix socket, over
# TCP, and with four parallel connections.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
PATH=$PATH:/usr/sbin
requires fio nbd-client nbdcopy nbdinfo nbdkit nbdsh qemu-img qemu-io qemu-nbd
# nbdsh needs the system's Python, even if PATH lists a different Python first.
nbdsh() { PATH=/usr/bin:/bin command nbdsh "$@"; }
size=$((64 << 20))

"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2
source "$here/serve.sh"
serve xvdb --unix "$dir/nbd.sock" --tcp 127.0.0.1:0
{ read -r over_unix; read -r over_tcp; read -r _; read -r _ _ port _; } <"$dir/out"
expect "the URI of the Unix socket" "nbd+unix:///xvdb?socket=$dir/nbd.sock" "$over_unix"
expect "the URI of the free TCP port" "nbd://127.0.0.1:$port/xvdb" "$over_tcp"
nbdkit -U - pattern 64M --run "nbdcopy \"\$uri\" $dir/pattern.img"

lists=$(nbd-client -l -unix "$dir/nbd.sock" 2>&1)
expect_line "nbd-client -l over Unix" '^xvdb: PV disk xvdb \(.*/backend/vbd/1/51728\) of domain 0$' "$lists"
lists=$(nbd-client -l 127.0.0.1 "$port" 2>&1)
expect_line "nbd-client -l over TCP" '^xvdb: PV disk xvdb' "$lists"
described() {
  expect_line "qemu-nbd --list over $1: the export" "export: 'xvdb'" "$2"
  expect_line "qemu-nbd --list over $1: its size" "size: +$size" "$2"
  expect_line "qemu-nbd --list over $1: its flags" 'flags: .*\( flush fua trim zeroes df multi fast-zero \)' "$2"
  expect_line "qemu-nbd --list over $1: its block sizes" 'max block: 33554432' "$2"
}
described Unix "$(qemu-nbd --list -k "$dir/nbd.sock")"
described TCP "$(qemu-nbd --list -b 127.0.0.1 -p "$port")"

for uri in "$over_unix" "$over_tcp"; do
  over=${uri%%:*}
  fio_nbd() {
    fio --ioengine=nbd --uri="$uri" --output-format=terse --minimal --size=16m --directory="$dir" "$@" >"$dir/fio" 2>&1
  }
  expect "$over: nbdinfo --json" "xvdb $size" "$(nbdinfo --json "$uri" | python3 -c '
import json, sys
export, = json.load(sys.stdin)["exports"]
print(export["export-name"], export["export-size"])')"
  expect "$over: nbdinfo --list" 1 "$(nbdinfo --list "$uri" | grep -c '^export="xvdb":')"
  expect "$over: nbdinfo without extents to map" 1 "$(status_of nbdinfo --map "$uri")"
  expect "$over: nbdinfo --is read-only" 2 "$(status_of nbdinfo --is read-only "$uri")"
  expect "$over: qemu-img info" $size "$(qemu-img info -f raw --output=json "$uri" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')"
  expect "$over: qemu-img map" $size "$(qemu-img map -f raw --output=json "$uri" |
    python3 -c 'import json, sys; print(sum(extent["length"] for extent in json.load(sys.stdin)))')"
  expect "$over: qemu-img convert" 0 "$(status_of qemu-img convert -n -f raw -O raw "$dir/pattern.img" "$uri")"
  expect "$over: qemu-img compare" 0 "$(status_of qemu-img compare -f raw -F raw "$dir/pattern.img" "$uri")"
  expect "$over: qemu-img bench, reading" 0 \
    "$(status_of qemu-img bench -f raw -c 5000 -d 32 -s 4096 -S 1052672 "$uri")"
  expect "$over: qemu-img bench, writing with flushes" 0 \
    "$(status_of qemu-img bench -f raw -w -c 5000 -d 32 -s 4096 -S 1052672 --flush-interval=100 "$uri")"
  expect "$over: nbdcopy, four connections" same "$(nbdcopy --connections=4 "$dir/pattern.img" "$uri" &&
    nbdcopy --connections=4 "$uri" "$dir/back.img" && cmp "$dir/pattern.img" "$dir/back.img" && echo same)"
  expect "$over: nbdcopy, one connection, to null:" 0 \
    "$(status_of nbdcopy --connections=1 --request-size=262144 "$uri" null:)"
  expect "$over: fio, random sizes, verified" 0 "$(status_of fio_nbd --name=verify --rw=randwrite \
    --bsrange=512-128k --blockalign=512 --iodepth=16 --verify=crc32c --verify_state_save=0 --verify_backlog=64)"
  expect "$over: fio, random trims" 0 "$(status_of fio_nbd --name=trim --rw=randtrim --bs=64k --iodepth=8)"
  expect "$over: fio, four connections, mixed with flushes, verified" 0 "$(status_of fio_nbd --name=four \
    --numjobs=4 --thread --group_reporting --rw=randwrite --bs=4k --iodepth=16 --fsync=64 --size=4m \
    --offset_increment=4m --verify=crc32c --verify_state_save=0)"
  four_at_once() {
    local n pids=()
    for n in 0 1 2 3; do
      qemu-io -f raw -c "write -P $((n + 1)) $((n * 16))M 16M" -c flush \
        -c "read -P $((n + 1)) $((n * 16))M 16M" "$uri" >"$dir/io.$n" 2>&1 &
      pids+=($!)
    done
    wait "${pids[0]}" && wait "${pids[1]}" && wait "${pids[2]}" && wait "${pids[3]}"
  }
  expect "$over: four parallel qemu-io processes" 0 "$(status_of four_at_once)"
  # Invalid requests, which libnbd sends in non-strict mode, fail, and the connection survives.
  expect "$over: nbdsh with strict mode off" \
    "EINVAL ENOSPC ENOSPC EINVAL ENOTSUP EINVAL EINVAL ok ok alive" "$(nbdsh -u "$uri" -c '
h.set_strict_mode(0)
size, results = h.get_size(), []
def ask(request):
    try:
        request()
        results.append("ok")
    except nbd.Error as e:
        results.append(e.errno)
ask(lambda: h.pread(512, size))
ask(lambda: h.pwrite(bytes(512), size - 256))
ask(lambda: h.zero(512, size))
ask(lambda: h.trim(512, size))
ask(lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO))
ask(lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_DF))
ask(lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))
ask(lambda: h.pread(0, 0))
ask(lambda: h.pread(512, 0, nbd.CMD_FLAG_FUA))
results.append("alive" if len(h.pread(512, 0)) == 512 else "dead")
print(*results)')"
  for filter in "blocksize maxlen=4096" "retry" "log logfile=$dir/nbdkit.log" "checkwrite" "cow" "cache" \
      "delay rdelay=1ms" "readahead" "stats statsfile=$dir/stats"; do
    # checkwrite only compares data, so the data must already be on the disk.
    nbdcopy "$dir/pattern.img" "$uri"
    expect "$over: nbdkit's nbd plugin with the filter ${filter%% *}" 0 "$(status_of nbdkit -U - nbd uri="$uri" \
      --filter=${filter} --run "qemu-img convert -n -f raw -O raw $dir/pattern.img \$uri &&
        qemu-img compare -f raw -F raw $dir/pattern.img \$uri")"
  done
done

expect "no client was refused" 0 "$(in_guest "$disk" status xvdb --json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["servers"][0]["refused"])')"
kill -TERM "$server"
expect_end "after SIGTERM the exit status is 0" 0
passed
