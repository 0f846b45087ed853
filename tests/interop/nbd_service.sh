#!/usr/bin/env bash
# nbd_service.sh XENPV_SIM XENPV_DISK: tests xenpv-disk serve as a service: sockets, files, and
# notifications to a service manager.
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
expect "a stale socket is replaced" 67108864 "$(nbdinfo --size "$uri")"
expect "only the user has access" 600 "$(stat -c %a "$socket")"
expect "the pid file contains the server's process ID" "$server" "$(cat "$dir/pid")"
expect_line "a second server does not replace the socket" \
  "^xenpv-disk: listen on $socket: address already in use \(another server is listening on it\)\$" \
  "$(refused xvdc --unix "$socket")"
expect "the first server is still running" 67108864 "$(nbdinfo --size "$uri")"
expect "the other disk is unchanged" 1 "$(state_of 51744)"
expect_line "a second server for the same disk is refused" \
  "^xenpv-disk: serve xvdb: device or resource busy \(already served by process $server; see xenpv-disk status\)\$" \
  "$(refused xvdb --unix "$dir/other.sock")"
expect "the refused server left no socket behind" 1 "$(status_of test -e "$dir/other.sock")"
stop_serving "with a replaced socket"
expect "the socket is removed" 1 "$(status_of test -e "$socket")"
expect "the pid file is removed" 1 "$(status_of test -e "$dir/pid")"
expect "the control socket is removed" 1 "$(status_of test -e "$root/run/xenpv/xvdb.control")"

echo precious >"$socket"
expect_line "a regular file is not replaced" "^xenpv-disk: listen on $socket: file exists \(it is not a socket\)\$" \
  "$(refused xvdb --unix "$socket")"
expect "the file is unchanged" precious "$(cat "$socket")"
rm "$socket"
expect_line "a pid file that cannot be written" '^xenpv-disk: write /nowhere/pid: no such file or directory$' \
  "$(refused xvdb --unix "$socket" --pid-file /nowhere/pid)"
expect "no socket is left behind" 1 "$(status_of test -e "$socket")"
mkdir -p "$root/run/xenpv/xvdb.control"
expect_line "a status socket that cannot be made ends the server" 'xvdb.control: file exists \(it is not a socket\)$' \
  "$(refused xvdb --unix "$socket")"
expect "no socket is left behind" 1 "$(status_of test -e "$socket")"
rmdir "$root/run/xenpv/xvdb.control"

serve xvdb --unix "$socket" --unix "$dir/more.sock" --socket-mode 0660 --socket-group daemon
for path in "$socket" "$dir/more.sock"; do
  expect "mode and group of $(basename "$path")" "660 daemon" "$(stat -c '%a %G' "$path")"
  expect "$(basename "$path") serves" 67108864 "$(nbdinfo --size "nbd+unix:///xvdb?socket=$path")"
done
stop_serving "with two sockets"
expect "both sockets are removed" 0 "$(find "$dir" -maxdepth 1 -type s | wc -l)"
expect "an invalid mode" 2 "$(status_of in_guest "$disk" serve xvdb --socket-mode 0689)"
expect_line "an unknown group" "^xenpv-disk: group 'nobody-is-in-it': invalid argument \(no such group\)\$" \
  "$(refused xvdb --unix "$socket" --socket-group nobody-is-in-it)"
expect_line "an invalid address" "address 'localhost:99999'" "$(refused xvdb --tcp localhost:99999)"

serve xvdb --name 'disk of büro/1'
expect "the default address" \
  "nbd+unix:///disk%20of%20b%C3%BCro/1?socket=$root/run/xenpv/xvdb.sock" "$(head -1 "$dir/out")"
expect "the URI works" 67108864 "$(nbdinfo --size "$(head -1 "$dir/out")")"
stop_serving "with its own socket"
expect_line "a name that is too long" "offer export '.*': its name is longer than 1023 bytes" \
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
expect "no other socket is created" "" "$(cat "$dir/out")$(ls "$root/run/xenpv/xvdb.sock" 2>/dev/null)"
stop_serving "with an inherited socket"
expect "the server does not remove an inherited socket" 0 "$(status_of test -S "$socket")"
expect "the notifications" "READY=1|STATUS=serving xvdb|clients connect
STOPPING=1|STATUS=waiting for clients" "$(cat "$dir/heard")"
rm "$socket"
manage --abstract --watchdog 200000 -- "${guest_command[@]}" --unix "$socket"
wait_for "the watchdog is notified" grep -q '^WATCHDOG=1$' "$dir/heard"
stop_serving "with a watchdog"

# Locking memory requires privileges.
locked=$(in_guest "$disk" run xvdb --swap -- sh -c 'awk "/^VmLck/ { print (\$2 > 0) }" /proc/$PPID/status' 2>&1 || true)
expect_line "--swap locks the server's memory, or reports the missing privilege" \
  "^1$|--swap.*(run as root, or raise the limit: ulimit -l|it needs CAP_SYS_RESOURCE)" "$locked"
passed
