#!/usr/bin/env bash
# nbd_storm.sh XENPV_SIM XENPV_DISK NBD_STORM: many connections each send many unaligned,
# overlapping requests. No request may fail or starve, all data must be correct, and a concurrent
# low-rate client must also be served.
source "$(dirname "$0")/check.sh"
disk=$2 storm=$3
[ -x "$storm" ] || { echo "skipped: nbd_storm is not built, because libnbd-dev is not installed"; exit 77; }
seconds=3
# In seconds. Far above the latencies on a busy machine, so only a starving request exceeds it. To
# measure speed, use tests/bench/storm.sh.
worst_allowed=10
if is_sanitized "$disk"; then worst_allowed=60; fi

"$sim" start --dir "$host" --disk xvdb,memory=160M,queues=2 --disk xvdc,memory=160M,queues=2,sector=4096
source "$(dirname "$0")/serve.sh"
for name in xvdb xvdc; do
  serve "$name" --unix "$dir/nbd.sock"
  status=0
  figures=$("$storm" "nbd+unix:///$name?socket=$dir/nbd.sock" --seconds "$seconds" --quiet 1 \
    --worst-allowed "$worst_allowed" 2>"$dir/problems") || status=$?
  [ "$status" = 0 ] || { echo "$figures"; cat "$dir/problems" "$dir/log"; }
  expect "$name: a storm without problems" 0 "$status"
  expect_line "$name: requests were made" '^requests [1-9][0-9]' "$figures"
  kill -TERM "$server"
  expect_end "$name: an orderly end" 0
done
passed
