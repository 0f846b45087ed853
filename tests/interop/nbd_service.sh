#!/usr/bin/env bash
# xenpv-disk serve as a service: its sockets, its files, and what a service manager hears:
# nbd_service.sh XENPV_SIM XENPV_DISK
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3
"$sim" start --dir "$host" --disk xvdb,memory=64M --disk xvdc,memory=8M
source "$here/serve.sh"
stop_serving() {
  kill -TERM "$server"
  expect_end "$1: an orderly end" 0
}
refused() { in_guest timeout 20 "$disk" serve "$@" 2>&1 || true; }
socket="$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$socket"
leave_socket() {
  python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$socket"
}

# Sockets.
leave_socket
serve xvdb --unix "$socket" --pid-file "$dir/pid"
expect "a socket that nobody listens on is replaced" 67108864 "$(nbdinfo --size "$uri")"
expect "it is its user's alone" 600 "$(stat -c %a "$socket")"
expect "the file tells the server's number" "$server" "$(cat "$dir/pid")"
expect_line "another server leaves it alone" \
  "^xenpv-disk: listen on $socket: address already in use \(another server listens there\)\$" \
  "$(refused xvdc --unix "$socket")"
expect "which still serves" 67108864 "$(nbdinfo --size "$uri")"
expect "and the other disk was never touched" 1 "$(state_of 51744)"
expect_line "a disk has one server" \
  "^xenpv-disk: serve xvdb: device or resource busy \(process $server serves it already; see xenpv-disk status\)\$" \
  "$(refused xvdb --unix "$dir/other.sock")"
expect "who failed left no socket" 1 "$(status_of test -e "$dir/other.sock")"
stop_serving "with a replaced socket"
expect "its socket is gone" 1 "$(status_of test -e "$socket")"
expect "its pid file is gone" 1 "$(status_of test -e "$dir/pid")"
expect "its control socket is gone" 1 "$(status_of test -e "$root/run/xenpv/xvdb.control")"

echo precious >"$socket"
expect_line "a file is not replaced" "^xenpv-disk: listen on $socket: file exists \(it is no socket\)\$" \
  "$(refused xvdb --unix "$socket")"
expect "it is as it was" precious "$(cat "$socket")"
rm "$socket"
expect_line "a pid file that cannot be written" '^xenpv-disk: write /nowhere/pid: no such file or directory$' \
  "$(refused xvdb --unix "$socket" --pid-file /nowhere/pid)"
expect "leaves no socket behind" 1 "$(status_of test -e "$socket")"
mkdir -p "$root/run/xenpv/xvdb.control"
expect_line "a status socket that cannot be made ends the server" 'xvdb.control: file exists \(it is no socket\)$' \
  "$(refused xvdb --unix "$socket")"
expect "and leaves no socket behind" 1 "$(status_of test -e "$socket")"
rmdir "$root/run/xenpv/xvdb.control"

serve xvdb --unix "$socket" --unix "$dir/more.sock" --socket-mode 0660 --socket-group daemon
for each in "$socket" "$dir/more.sock"; do
  expect "mode and group of $(basename "$each")" "660 daemon" "$(stat -c '%a %G' "$each")"
  expect "$(basename "$each") serves" 67108864 "$(nbdinfo --size "nbd+unix:///xvdb?socket=$each")"
done
stop_serving "with two sockets"
expect "both are gone" 0 "$(find "$dir" -maxdepth 1 -type s | wc -l)"
expect "a mode that is none" 2 "$(status_of in_guest "$disk" serve xvdb --socket-mode 0689)"
expect_line "a group that is none" "^xenpv-disk: group 'nobody-is-in-it': invalid argument \(there is no such group\)\$" \
  "$(refused xvdb --unix "$socket" --socket-group nobody-is-in-it)"
expect_line "an address that is none" "address 'localhost:99999'" "$(refused xvdb --tcp localhost:99999)"

serve xvdb --name 'disk of büro/1'
expect "without an address it has one of its own" \
  "nbd+unix:///disk%20of%20b%C3%BCro/1?socket=$root/run/xenpv/xvdb.sock" "$(head -1 "$dir/out")"
expect "whose URI works as it is" 67108864 "$(nbdinfo --size "$(head -1 "$dir/out")")"
stop_serving "with its own socket"
expect_line "a name that no client can ask for" "offer export '.*': its name is longer than 1023 bytes" \
  "$(refused xvdb --name "$(printf '%2000s' x)")"

# With a service manager.
manage() {
  python3 "$here/service_manager.py" "$dir/heard" "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "the service is ready" grep -q '^READY=1' "$dir/heard"
}
guest_command=("$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb)
manage --listen "$socket" -- "${guest_command[@]}"
expect "an inherited socket is served" 67108864 "$(nbdinfo --size "$uri")"
expect "and no other" "" "$(cat "$dir/out")$(ls "$root/run/xenpv/xvdb.sock" 2>/dev/null)"
stop_serving "with an inherited socket"
expect "it is not ours to remove" 0 "$(status_of test -S "$socket")"
expect "what the manager heard" "READY=1|STATUS=serving xvdb|clients connect
STOPPING=1|STATUS=waiting for clients" "$(cat "$dir/heard")"
rm "$socket"
manage --abstract --watchdog 200000 -- "${guest_command[@]}" --unix "$socket"
wait_for "the watchdog is fed" grep -q '^WATCHDOG=1$' "$dir/heard"
stop_serving "with a watchdog"

# In memory, whatever happens to that of others; not everybody may ask for it.
locked=$(in_guest "$disk" run xvdb --swap -- sh -c 'awk "/^VmLck/ { print (\$2 > 0) }" /proc/$PPID/status' 2>&1 || true)
expect_line "--swap locks the server's memory, or says what is missing" \
  "^1$|--swap.*(run as root, or raise the limit: ulimit -l|it needs CAP_SYS_RESOURCE)" "$locked"
passed
