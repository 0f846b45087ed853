#!/usr/bin/env bash
# nbd_multi_conn.sh XENPV_SIM XENPV_DISK: tests NBD_FLAG_CAN_MULTI_CONN: a flush on one connection
# covers the answered writes on all connections and queues, even if the backend then loses power.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires python3
"$sim" start --dir "$host" --disk xvdb,memory=16M,queues=4,volatile
source "$here/serve.sh"
multi_conn() { python3 "$here/nbd_multi_conn.py" "$1" "unix:$dir/nbd.sock" xvdb "$dir/record" "${@:2}"; }

lost=0
for seed in 1 2 3 4 5; do
  serve xvdb --unix "$dir/nbd.sock"
  # Also kill the server, which would otherwise replay unanswered requests to the next backend.
  multi_conn write $((seed * 400)) sh -c 'kill -KILL "$1"; shift; exec "$@"' - "$server" \
    "$sim" disk --dir "$host" power-cut xvdb --seed "$seed"
  expect_end "round $seed: the server was killed" 137
  serve xvdb --unix "$dir/nbd.sock"
  if [ "$seed" = 1 ]; then
    queues=$(in_guest "$disk" status xvdb --json | python3 -c 'import json, sys
print(len(json.load(sys.stdin)["disks"][0]["queues"]))')
  fi
  output=$(multi_conn check 2>&1) || { echo "FAILED: round $seed: $output"; exit 1; }
  expect_line "round $seed: flushed writes are on the disk" '^durable [1-9][0-9]* lost [0-9]+$' "$output"
  lost=$((lost + ${output##* }))
  # The next round starts with an empty disk, because versions start from 1 again.
  python3 -c 'import sys; sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
with Connection("unix:" + sys.argv[2]).go(b"xvdb") as c:
    c.error_of(ZEROES, 0, 4 * MIB)
    c.error_of(FLUSH)' "$here" "$dir/nbd.sock"
  kill -TERM "$server"
  expect_end "round $seed: an orderly end" 0
done
[ "$lost" -gt 0 ] || { echo "FAILED: no unflushed write was lost, so the test proves nothing"; exit 1; }
[ "$queues" -gt 1 ] || echo "note: only one queue was tested, because this machine has one CPU"
passed
