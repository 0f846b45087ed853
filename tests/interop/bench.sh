#!/usr/bin/env bash
# bench.sh XENPV_SIM XENPV_DISK: tests the results and error messages of xenpv-disk bench.
source "$(dirname "$0")/check.sh"
disk=$2
requires python3
"$sim" start --dir "$host" --disk xvdb,memory=16M,queues=2 --disk xvdc,memory=16M,ro --disk xvdd,memory=16M
source "$(dirname "$0")/serve.sh"
bench() { in_domain 1 timeout 60 "$disk" bench "$@" --time 50ms 2>"$dir/log"; }
refused() { in_domain 1 timeout 60 "$disk" bench "$@" --time 50ms 2>&1 || true; }
# ask_json QUERY ARGUMENT...: evaluates the Python expression QUERY on the JSON output of
# `xenpv-disk bench ARGUMENT...`. In QUERY, `rows` is the list of results.
ask_json() {
  local query=$1
  shift
  bench "$@" --json | python3 -c "
import json, sys
document = json.load(sys.stdin)
rows = document['results']
print($query)"
}

table=$(bench xvdb)
expect_line "the table has a header" \
  '^LOAD +ENGINE +IOPS +MB/S +P50 +P99 +MAX +ERRORS +VS-KERNEL$' "$table"
expect_line "a row" '^randread 4k depth 32 +xenpv +[0-9]+ +[0-9.]+ .* 0 +-$' "$table"
expect "only reads by default" 4 "$(wc -l <<<"$table")"
expect "no progress without a terminal" "" "$(cat "$dir/log")"
expect "reads and writes with --overwrite" 6 "$(ask_json 'len(rows)' xvdb --overwrite)"
expect "the requested load" "write False 65536 4 xenpv 0 True True" "$(ask_json \
  '" ".join(str(rows[0][key]) for key in ("operation", "random", "block", "depth", "engine", "errors")),
   rows[0]["iops"] * 65536 == rows[0]["bytes_per_second"],
   sum(bucket["count"] for bucket in rows[0]["latency_ns"]["histogram"]) == rows[0]["requests"]' \
  xvdb --load write --block 64K --depth 4 --overwrite | tr -d "(),'")"
expect_line "a histogram" '^ +< [0-9.]+ (us|ms) +[0-9]+ #+$' "$(bench xvdb --load randread --histogram)"
expect "one queue of two" 0 "$(status_of bench xvdb --load randread --queues 1)"

expect_line "a load that writes needs --overwrite" \
  '^xenpv-disk: benchmark with a write load: invalid argument \(it destroys the data on the disk; confirm with --overwrite\)$' \
  "$(refused xvdb --load randwrite)"
expect_line "a read-only disk refuses writes" 'the device is read-only' \
  "$(refused xvdc --load write --overwrite)"
expect_line "blocks must be whole sectors" 'block size 1000 is not a multiple of the sector size 512' \
  "$(refused xvdb --load read --block 1000)"
expect_line "the kernel engine needs the kernel driver" \
  "^xenpv-disk: benchmark the kernel driver on xvdb: not available here \(it is not using the disk" \
  "$(refused xvdb --engine kernel)"
serve xvdd
expect_line "a served disk is not measured" 'already served by process [0-9]+' "$(refused xvdd)"
kill "$server"
expect_end "the server" 0

# Simulates a kernel driver that uses xvdb, with a regular file as its block device.
mkdir -p "$root/sys/bus/xen/devices/vbd-51728/driver" "$root/sys/bus/xen/devices/vbd-51728/block/xvdb" \
  "$root/sys/bus/xen/drivers/vbd" "$root/dev"
: >"$root/sys/bus/xen/drivers/vbd/unbind"
truncate -s 16M "$root/dev/xvdb"
expect_line "the disk is not taken over without --take" "the kernel driver is using it; use --take, or" \
  "$(refused xvdb --engine xenpv)"
if kernel=$(bench xvdb --engine kernel); then
  expect_line "the kernel engine" '^randread 4k depth 1 +kernel ' "$kernel"
  expect "both engines in one run" "kernel kernel kernel xenpv xenpv xenpv" \
    "$(ask_json '" ".join(row["engine"] for row in rows)' xvdb --take)"
  expect "the driver was unbound" vbd-51728 "$(cat "$root/sys/bus/xen/drivers/vbd/unbind")"
else
  # This happens in a container without io_uring or on a file system without O_DIRECT.
  expect_line "the reason why the kernel engine cannot be measured" 'io_uring|O_DIRECT' "$(cat "$dir/log")"
fi
passed
