#!/usr/bin/env bash
# program_messages.sh XENPV_SIM XENPV_DISK: tests the programs' messages: suggestions for misspelt words, errors in the
# format of the log, and details at level debug.
. "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3
error_of() { "$@" 2>&1 >/dev/null || true; }
json_message() { python3 -c 'import json, sys
lines = sys.stdin.read().splitlines()
assert len(lines) == 1, lines
line = json.loads(lines[0])
print(line["level"], line["program"], line["message"])'; }

# Misspelt words.
expect_line "a command" "unknown command 'serv' \(known: .*; did you mean 'serve'\?\)" "$(error_of "$disk" serv xvdb)"
expect_line "a command of another program" "did you mean 'save-restore'" "$(error_of "$sim" domain save-resore 1)"
expect_line "an option" "^xenpv-disk: unknown option '--tls-pks'; did you mean '--tls-psk'\?$" \
  "$(error_of "$disk" serve xvdb --tls-pks keys)"
expect_line "a value" "--tls 'requier': .*expected off, on or require; did you mean 'require'\?" \
  "$(error_of "$disk" serve xvdb --tls requier)"
expect_line "a fault" "fault 'event-lots=1/3': .*did you mean 'event-lost'\?" \
  "$(error_of "$sim" run --fault event-lots=1/3 -- true)"

# The last error is a line of the log, too.
failing() { error_of "$sim" run --disk xvdb,memory=8M -- "$disk" serve "$@"; }
expect_line "text" '^xenpv-disk: disk .xvdz.: not available here \(available: xvdb\)$' "$(failing xvdz)"
expect_line "JSON" '^error xenpv-disk disk .xvdz.: not available here \(available: xvdb\)$' \
  "$(failing xvdz --log json | json_message)"
expect_line "an invalid command line" "^error xenpv-disk unknown option '--nonsense' \(try 'xenpv-disk serve --help'\)$" \
  "$(failing xvdb --nonsense --log=json | json_message)"

# Level debug logs the negotiation with the backend and with clients, and recovery, but not single requests.
"$sim" start --dir "$host" --disk xvdb,memory=64M
source "$here/serve.sh"
socket="$dir/nbd.sock"
serve xvdb --unix "$socket" --log-level debug
wait_for "the server listens" nbdinfo --size "nbd+unix:///xvdb?socket=$socket"
# Newer versions of nbdinfo leave after the negotiation, without using the export.
nbdcopy --connections=1 "nbd+unix:///xvdb?socket=$socket" null:
expect_line "what the backend offers and the server uses" \
  '^xenpv-disk: debug: device/vbd/51728: the backend offers [0-9]+ queue\(s\), rings of 16 page\(s\) and 256 indirect segments; using [0-9]+ queue\(s\), rings of [0-9]+ page\(s\), [0-9]+ segments per request and [0-9]+ granted pages$' \
  "$(cat "$dir/log")"
expect_line "the disk and its features" \
  '^xenpv-disk: debug: device/vbd/51728: /local/domain/0/backend/vbd/1/51728: 64 MiB in sectors of 512 bytes \(physical 512\), feature-flush-cache, .*flush and FUA, discard, .*persistent grants$' \
  "$(cat "$dir/log")"
expect_line "a client connects" '^xenpv-disk: debug: client 1 \(unix\): connected; negotiating an export$' "$(cat "$dir/log")"
expect_line "what it negotiates" "^xenpv-disk: debug: client [0-9]+ \(unix\): uses export 'xvdb' on queue [0-9]+, with (structured replies|extended headers)$" \
  "$(cat "$dir/log")"
lines_before=$(wc -l <"$dir/log")
python3 - "$here" "$socket" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
client = Connection("unix:" + sys.argv[2]).go(b"xvdb")
for i in range(1000):
    client.read(0, 4096)
END
expect "requests are not logged" yes "$([ $(($(wc -l <"$dir/log") - lines_before)) -lt 10 ] && echo yes)"
"$sim" disk restart --dir "$host" xvdb
reconnected() { grep -q 'info: device/vbd/51728: reconnected after ' "$dir/log"; }
wait_for "the server reconnects" reconnected
expect "the new negotiation is logged" 2 "$(grep -c 'debug: device/vbd/51728: the backend offers ' "$dir/log")"
expect "so are the frontend's states" 2 "$(grep -c 'debug: device/vbd/51728: changing to Connected' "$dir/log")"
kill -TERM "$server"
expect_end "the server ends" 0

# Without --log-level, none of it.
serve xvdb --unix "$socket"
wait_for "the server listens" nbdinfo --size "nbd+unix:///xvdb?socket=$socket"
expect "the level info" "" "$(grep debug "$dir/log" || true)"

# Without a server.
kill -TERM "$server"
expect_end "the server ends" 0
expect_line "status names the command that starts one" '^xenpv-disk: info: no server is running; start one with xenpv-disk serve$' \
  "$(in_domain 1 "$disk" status 2>&1)"
passed
