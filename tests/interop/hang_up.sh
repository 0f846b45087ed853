#!/usr/bin/env bash
# hang_up.sh XENPV_SIM XENPV_DISK: tests SIGHUP, closed terminals and killed servers: a server closes its disk, and
# leaves neither its command nor its private directory behind.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3 setsid
"$sim" start --dir "$host" --disk xvdb,memory=64M --disk xvdc,memory=8M
source "$here/serve.sh"
socket="$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$socket"
guest=("$sim" exec --dir "$host" --domain 1 --)
is_closed() { [ "$(state_of "$1")" = 6 ]; }
is_over() { ! kill -0 "$1" 2>/dev/null || [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null)" = Z ]; }

# on_terminal CMD...: runs CMD in a session with its own terminal, closes the terminal when $dir/close exists, and
# writes the exit status to $dir/status.
on_terminal() {
  rm -f "$dir/close" "$dir/status"
  python3 -c '
import os, pty, sys, time
process, terminal = pty.fork()
if process == 0:
    log = os.open(sys.argv[1] + "/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
while not os.path.exists(sys.argv[1] + "/close"):
    if os.waitpid(process, os.WNOHANG)[0]:
        sys.exit("the command has exited")
    time.sleep(0.02)
os.close(terminal)
status = os.waitpid(process, 0)[1]
open(sys.argv[1] + "/status", "w").write(str(os.waitstatus_to_exitcode(status)))' "$dir" "$@" &
  terminal=$!
}
close_terminal() {
  : >"$dir/close"
  wait "$terminal"
}

# A closed terminal stops the server as SIGTERM does.
on_terminal "${guest[@]}" "$disk" serve xvdb --unix "$socket" --pid-file "$dir/pid"
wait_for "the server listens" nbdinfo --size "$uri"
close_terminal
expect "the exit status after the terminal was closed" 0 "$(cat "$dir/status")"
expect_line "the reason is logged" '^xenpv-disk: info: xvdb: stopping: the terminal was closed$' "$(cat "$dir/log")"
expect "the disk is closed" 6 "$(state_of 51728)"
expect "the socket is removed" 1 "$(status_of test -e "$socket")"
expect "the pid file is removed" 1 "$(status_of test -e "$dir/pid")"

# Without a terminal, SIGHUP does not stop a server.
: >"$dir/out"
setsid "${guest[@]}" "$disk" serve xvdb --unix "$socket" >"$dir/out" 2>"$dir/log" &
server=$!
wait_for "the server listens" nbdinfo --size "$uri"
kill -HUP "$server"
wait_for "the server logs SIGHUP" grep -Eq '^xenpv-disk: (info|error): xvdb: (SIGHUP: nothing to reload|reloaded|cannot reload: .*)$' "$dir/log"
expect "it continues" 67108864 "$(nbdinfo --size "$uri")"
kill -TERM "$server"
expect_end "SIGTERM still stops it" 0

# nohup: neither does a closed terminal.
on_terminal nohup "${guest[@]}" "$disk" serve xvdb --unix "$socket" --pid-file "$dir/pid"
wait_for "the server listens" nbdinfo --size "$uri"
server=$(cat "$dir/pid")
: >"$dir/close"
expect "a server started by nohup continues" 67108864 "$(nbdinfo --size "$uri")"
kill -TERM "$server"
wait "$terminal"
expect "the exit status after SIGTERM" 0 "$(cat "$dir/status")"

# run: the command gets SIGHUP and may exit cleanly.
on_terminal "${guest[@]}" "$disk" run xvdc -- sh -c '
  trap "echo told >\"$0/told\"; exit 5" HUP; touch "$0/began"; while :; do sleep 0.1; done' "$dir"
wait_for "the command runs" test -e "$dir/began"
close_terminal
expect "the exit status is that of the command" 5 "$(cat "$dir/status")"
expect "the command received SIGHUP" told "$(cat "$dir/told")"
expect "the disk is closed" 6 "$(state_of 51744)"
expect "no private directory is left behind" "" "$(ls "$root/run/xenpv" | grep run- || true)"
rm "$dir/began" "$dir/told"
setsid "${guest[@]}" "$disk" run xvdc -- sh -c '
  trap "echo told >\"$0/told\"; exit 5" HUP; touch "$0/began"; while :; do sleep 0.1; done' "$dir" 2>"$dir/log" &
server=$!
wait_for "the command runs" test -e "$dir/began"
kill -HUP "$server"
expect_end "SIGHUP is forwarded to the command without a terminal, too" 5
expect "the command received SIGHUP" told "$(cat "$dir/told")"

# A killed server does not leave its command behind. The next server removes the killed server's
# directory, but not a running server's directory.
"${guest[@]}" "$disk" run xvdc -- sh -c 'echo $$ >"$0/child"; exec sleep 1000' "$dir" 2>"$dir/log" &
server=$!
wait_for "the command runs" test -s "$dir/child"
child=$(cat "$dir/child")
kill -KILL "$server"
expect_end "a killed server" 137
wait_for "the command ends with its server" is_over "$child"
wait_for "the custodian closes the disk" is_closed 51744
expect "its directory is left behind" 1 "$(ls "$root/run/xenpv" | grep -c run-)"
mkfifo "$dir/end"
"${guest[@]}" "$disk" run xvdb -- sh -c 'echo "$unixsocket" >"$0/socket"; read -r _ <"$0/end"' "$dir" 2>"$dir/other.log" &
other=$!
wait_for "another server runs" test -s "$dir/socket"
expect "the next server removes the directory, but not its own" 1 "$(ls "$root/run/xenpv" | grep -c run-)"
expect "a third server works" 8388608 "$(in_guest timeout 30 "$disk" run xvdc -- sh -c 'nbdinfo --size "$uri"' 2>/dev/null)"
expect "the directory of a running server is kept" 0 "$(status_of test -S "$(cat "$dir/socket")")"
echo >"$dir/end"
wait "$other"
expect "no private directory is left behind" "" "$(ls "$root/run/xenpv" | grep run- || true)"
passed
