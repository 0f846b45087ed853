#!/usr/bin/env bash
# nbd_ending.sh XENPV_SIM XENPV_DISK: tests how xenpv-disk exits: on signals, with busy clients,
# after an unplug, and when the command of `run` exits.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires fio nbdinfo python3
"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2 --disk xvdc,memory=8M
source "$here/serve.sh"
socket="$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$socket"
accepted() {
  in_guest "$disk" status xvdb --json | python3 -c '
import json, sys
disk = json.load(sys.stdin)["disks"][0]
print(sum(client["requests"] for client in disk["server"]["clients"]))'
}
is_busy() { [ "$(accepted)" -gt 0 ]; }
busy_client() {
  # Requests more data than fits in its socket, and does not read the replies. Runs until killed.
  python3 -c '
import sys, time
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"xvdb")
flood(c)
open(sys.argv[3], "w").close()
time.sleep(1000)' "$here" "$socket" "$dir/flooded" &
  client=$!
}

# SIGTERM while a client writes: all answered writes must be on the disk.
for over in unix tcp; do
  serve xvdb --unix "$socket" --tcp 127.0.0.1:0
  read -r _ _ port _ < <(grep "^nbd-client 127" "$dir/out")
  address="unix:$socket"
  [ "$over" = tcp ] && address="tcp:127.0.0.1:$port"
  output=$(python3 "$here/nbd_drain.py" write "$address" xvdb "$dir/record" "$server" 2>&1) ||
    { echo "FAILED: a writing client over $over: $output"; exit 1; }
  expect_line "$over: requests in flight are answered" '^2[0-9]* replies before the signal, [0-9]+ after it$' "$output"
  expect_end "$over: the exit status after SIGTERM with a busy client is 0" 0
  expect "$over: the disk is closed" 6 "$(state_of 51728)"
  serve xvdb --unix "$socket"
  expect_line "$over: answered writes are on the disk" '^[0-9]+ blocks are intact$' \
    "$(python3 "$here/nbd_drain.py" check "unix:$socket" xvdb "$dir/record" 2>&1)"
  kill -INT "$server"
  expect_end "$over: the exit status after SIGINT is 0" 0
done

# The only error that a third-party client sees is the end of its connection.
serve xvdb --unix "$socket"
fio --name=w --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k --iodepth=16 --size=32m --time_based \
  --runtime=60 --output="$dir/fio" >/dev/null 2>"$dir/fio.err" &
client=$!
wait_for "fio writes" is_busy
kill -TERM "$server"
expect_end "the server exits on SIGTERM while fio runs" 0
status=0
wait "$client" || status=$?
expect "fio fails" 1 "$status"
expect_line "fio reports the end of its connection" 'state DEAD|Transport endpoint is not connected' "$(cat "$dir/fio.err")"
expect "no request failed for another reason" "" \
  "$(grep 'io_u error' "$dir/fio" "$dir/fio.err" | grep -v 'Transport endpoint is not connected' || true)"

# After a second signal, the server does not wait for a client that never reads, but the server
# still closes the disk properly.
serve xvdb --unix "$socket"
busy_client
wait_for "the client is throttled" test -e "$dir/flooded"
kill -TERM "$server"
wait_for "the server waits for clients" grep -q 'stopping: signal 15' "$dir/log"
wait_for "the socket is removed before the clients leave" test ! -e "$socket"
expect "the server is still waiting" 0 "$(status_of kill -0 "$server")"
began=$SECONDS
kill -TERM "$server"
expect_end "the server exits after a second SIGTERM" 0
[ $((SECONDS - began)) -lt 5 ] || { echo "FAILED: that took $((SECONDS - began)) s"; exit 1; }
expect_line "the server logs the dropped clients" 'warning: disconnecting clients with requests in flight: 1' "$(cat "$dir/log")"
expect "the disk is closed by a handshake" "6 6" \
  "$(state_of 51728) $(in_domain 0 xenstore-read backend/vbd/1/51728/state)"
kill "$client"

# After a second signal, a stalled backend delays the exit only briefly, even if requests are in
# flight on both queues.
serve xvdb --unix "$socket"
"$sim" disk --dir "$host" fault xvdb stall
python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
clients = [Connection("unix:" + sys.argv[2]).go(b"xvdb") for _ in range(4)]
for c in clients:
    c.send(request(READ, 0, 4096))
for c in clients:
    c.socket.settimeout(60)
    c.require_end("after the second signal to the server")
print("hung up")' "$here" "$socket" >"$dir/client" 2>&1 &
client=$!
all_wait() { [ "$(accepted)" = 4 ]; }
wait_for "four requests wait for the backend" all_wait
kill -TERM "$server"
wait_for "the server waits for clients" grep -q 'stopping: signal 15' "$dir/log"
began=$SECONDS
kill -TERM "$server"
expect_end "the server exits after a second SIGTERM while the backend stalls" 0
[ $((SECONDS - began)) -lt 18 ] || { echo "FAILED: that took $((SECONDS - began)) s"; exit 1; }
expect_line "the server logs the reason" 'warning: xvdb: the backend does not respond; closing the disk with requests in flight' \
  "$(cat "$dir/log")"
expect "the disk is closed anyway" 6 "$(state_of 51728)"
wait "$client" || true
expect "clients are disconnected without an answer" "hung up" "$(cat "$dir/client")"
"$sim" disk --dir "$host" fault xvdb none

# After a kill, the custodian closes the disk, and the next server takes over the socket.
serve xvdb --unix "$socket"
kill -KILL "$server"
expect_end "a killed server" 137
is_closed() { [ "$(state_of 51728)" = 6 ]; }
wait_for "the custodian closes the disk" is_closed
serve xvdb --unix "$socket"
expect "the socket is replaced" 67108864 "$(nbdinfo --size "$uri")"

# A server that starts right after its predecessor was killed waits for the predecessor's custodian.
# Otherwise, the custodian and the new server would close each other's connection.
for _ in 1 2 3; do
  killed=$server
  kill -KILL "$killed"
  serve xvdb --unix "$socket"
  wait "$killed" || true
  expect "the new server is connected" 4 "$(state_of 51728)"
done
expect "the new server stays connected" 4 "$(state_of 51728)"
expect "clients can connect" 67108864 "$(nbdinfo --size "$uri")"

# Resize.
"$sim" disk --dir "$host" resize xvdb 96M
has_new_size() { [ "$(nbdinfo --size "$uri")" = 100663296 ]; }
wait_for "new clients see the new size" has_new_size

# After the toolstack has unplugged the disk, requests fail, but clients remain connected.
mkfifo "$dir/gone"
python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"xvdb")
c.read(0, 4096)
open(sys.argv[3]).read()
print(error_name(c.error_of(READ, 0, 4096)))' "$here" "$socket" "$dir/gone" >"$dir/client" 2>&1 &
client=$!
wait_for "a client is connected" is_busy
"$sim" disk --dir "$host" unplug xvdb
wait_for "the server detects the unplug" grep -q 'xvdb: stopping: ' "$dir/log"
echo >"$dir/gone"
wait "$client" || true
expect "the request fails" ESHUTDOWN "$(cat "$dir/client")"
expect_end "a server whose disk was unplugged" 1
expect_line "the server logs the reason" '^xenpv-disk: .*51728' "$(cat "$dir/log")"
expect "the socket is removed" 1 "$(status_of test -e "$socket")"

# run: xenpv-disk forwards signals to the command, and exits with the command's status.
run() { in_guest timeout 30 "$disk" run xvdc "$@"; }
expect "the command has both variables" same "$(run -- sh -c '
  [ "$uri" = "nbd+unix:///xvdc?socket=$unixsocket" ] && [ -S "$unixsocket" ] && echo same' 2>/dev/null)"
expect "clients accept the variables" 8388608 "$(run --name 'a b?&#%' -- sh -c 'nbdinfo --size "$uri"' 2>/dev/null)"
expect "the exit status of the command" 3 "$(status_of run -- sh -c 'exit 3')"
expect "a command killed by a signal" 137 "$(status_of run -- sh -c 'kill -9 $$')"
expect "a missing command" 127 "$(status_of run -- no-such-command)"
expect "a command that is not executable" 126 "$(status_of run -- /)"
expect_line "the missing command is reported" 'run no-such-command: no such file or directory' "$(run -- no-such-command 2>&1 || true)"
expect "no temporary directory is left behind" "" "$(ls "$root/run/xenpv" | grep run- || true)"
# On a terminal, the copy is repeated until xenpv-disk shows progress; it never shows progress on a
# pipe.
requires script
on_terminal() { TERM=${term:-xterm} timeout 60 script -qefc "'$sim' exec --dir '$host' --domain 1 -- '$disk' run xvdc -- $1" "$dir/terminal"; }
on_terminal "sh -c 'until grep -q \"xvdc, read .* MiB\" \"$dir/terminal\"; do nbdcopy \$uri \"$dir/copy\"; done'" \
  >/dev/null </dev/null
expect_line "the progress of a copy on a terminal" 'xvdc, read [0-9]+ MiB \([0-9]+ % of its size\): [0-9]+ MiB/s' \
  "$(cat "$dir/terminal")"
on_terminal "sh -c 'stty raw; for i in 1 2 3; do nbdcopy \$uri \"$dir/copy\"; sleep 0.5; done; stty sane'" \
  >/dev/null </dev/null
expect "no progress on a terminal in raw mode" 0 "$(grep -c MiB/s "$dir/terminal" || true)"
term=dumb on_terminal "sh -c 'for i in 1 2 3; do nbdcopy \$uri \"$dir/copy\"; sleep 0.5; done'" >/dev/null </dev/null
expect "no escape sequences on a dumb terminal" 0 "$(grep -c $'\x1b' "$dir/terminal" || true)"
"$sim" exec --dir "$host" --domain 1 -- "$disk" run xvdc -- sh -c '
  trap "echo told >\"$0/told\"; exit 5" TERM; touch "$0/began"; while :; do sleep 0.1; done' "$dir" 2>"$dir/log" &
server=$!
wait_for "the command runs" test -e "$dir/began"
kill -TERM "$server"
expect_end "SIGTERM is forwarded to the command, whose exit status is returned" 5
expect "the command received SIGTERM" told "$(cat "$dir/told")"
passed
