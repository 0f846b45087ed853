#!/usr/bin/env bash
# nbd_log.sh XENPV_SIM XENPV_DISK: tests a server whose stderr is not read: clients must not be affected, and the
# server must exit cleanly.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3
"$sim" start --dir "$host" --disk xvdb,memory=64M
source "$here/serve.sh"
socket="$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$socket"
size_of_disk() { timeout 20 nbdinfo --size "$uri"; }
# A small pipe. This shell keeps it open, but reads it only at the end.
mkfifo "$dir/messages"
exec 7<>"$dir/messages"
python3 -c 'import fcntl; fcntl.fcntl(7, 1031, 8192)'
serve_unread() {
  : >"$dir/out"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$socket" --log-level debug "$@" >"$dir/out" 2>&7 &
  server=$!
  wait_for "the server listens" nbdinfo --size "$uri"
}
# More clients than there is room for messages about them.
many_clients() {
  timeout 60 python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
address = "unix:" + sys.argv[2]
reader = Connection(address).go(b"xvdb")
for i in range(int(sys.argv[3])):
    Connection(address).go(b"xvdb").socket.close()
    reader.read(0, 4096)
print("served")' "$here" "$socket" "$1" 2>&1 | tail -1
}

serve_unread
expect "clients are served while nobody reads the messages" served "$(many_clients 3000)"
expect "new clients can connect" 67108864 "$(size_of_disk)"
# Somebody reads again.
cat "$dir/messages" >"$dir/read" &
reader=$!
wait_for "the server reports dropped messages" \
  grep -Eq '^xenpv-disk: warning: [0-9]+ messages dropped: the reader of stderr did not keep up$' "$dir/read"
kill "$reader"
wait "$reader" 2>/dev/null || true
expect "only whole lines are written" "" "$(grep -v '^xenpv-disk: ' "$dir/read" || true)"
many_clients 500 >/dev/null
began=$SECONDS
kill -TERM "$server"
expect_end "the exit status after SIGTERM while nobody reads the messages" 0
[ $((SECONDS - began)) -lt 8 ] || { echo "FAILED: that took $((SECONDS - began)) s"; exit 1; }
expect "the disk is closed" 6 "$(state_of 51728)"

# The custodian of a killed server also closes the disk.
serve_unread
expect "clients are served" served "$(many_clients 500)"
kill -KILL "$server"
expect_end "a killed server" 137
is_closed() { [ "$(state_of 51728)" = 6 ]; }
wait_for "the custodian closes the disk" is_closed

# A failure at the end is still reported.
"$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$socket" >"$dir/out" 2>"$dir/log" &
server=$!
wait_for "the server listens" nbdinfo --size "$uri"
"$sim" disk --dir "$host" unplug xvdb
expect_end "a server whose disk was unplugged" 1
expect_line "its last message is the reason" '^xenpv-disk: .*51728' "$(tail -1 "$dir/log")"
passed
