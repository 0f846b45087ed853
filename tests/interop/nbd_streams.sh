#!/usr/bin/env bash
# nbd_streams.sh XENPV_SIM XENPV_DISK: tests programs that are started with closed standard streams: messages
# must not reach a client, and the loss of data must be an error.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires nbdinfo python3
"$sim" start --dir "$host" --disk xvdb,memory=64M
source "$here/serve.sh"
socket="$dir/nbd.sock"
uri="nbd+unix:///xvdb?socket=$socket"
stream() { readlink "/proc/$server/fd/$1"; }
# A shell closes the streams: the simulator opens those that it is started without.
closed() {
  local streams=$1
  shift
  in_guest sh -c "exec \"\$@\" $streams" sh "$@"
}
# serve_closed REDIRECTIONS ARGUMENT...
serve_closed() {
  local streams=$1
  shift
  "$sim" exec --dir "$host" --domain 1 -- sh -c "exec \"\$@\" $streams" sh "$disk" serve xvdb --unix "$socket" \
    --log-level debug "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "the server listens" nbdinfo --size "$uri"
}

# Reads while other clients come and go, so that the server writes messages.
# Without stdout, the addresses are lost, which is an error.
for case in '0 2>&-' '1 >&- 2>&-' '1 <&- >&- 2>&-' '0 <&-' '1 >&-'; do
  streams=${case#* }
  serve_closed "$streams"
  expect "started with $streams: a client reads only its data" "2000 reads" "$(python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
address = "unix:" + sys.argv[2]
readers = [Connection(address).go(b"xvdb") for _ in range(4)]
count = 0
for i in range(500):
    Connection(address).socket.close()
    for c in readers:
        if any(c.read(0, 4096)):
            sys.exit("wrong data")
        count += 1
print(count, "reads")' "$here" "$socket" 2>&1 | tail -1)"
  for number in 0 1 2; do
    case $(stream "$number") in
      /dev/null | "$dir"/* | pipe:*) ;;
      *) echo "FAILED: started with $streams, descriptor $number is '$(stream "$number")'"; exit 1 ;;
    esac
  done
  kill -TERM "$server"
  expect_end "started with $streams: the exit status" "${case%% *}"
done
expect_line "the lost addresses are reported" '^xenpv-disk: cannot write to standard output$' "$(cat "$dir/log")"

# Sockets from a service manager keep their numbers.
"$sim" exec --dir "$host" --domain 1 -- python3 -c '
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(8)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.closerange(0, 3)
os.execv(sys.argv[2], sys.argv[2:])' "$dir/inherited.sock" "$disk" serve xvdb &
server=$!
wait_for "a server without streams uses an inherited socket" \
  nbdinfo --size "nbd+unix:///xvdb?socket=$dir/inherited.sock"
kill -TERM "$server"
expect_end "its addresses need no output" 0

# Every program.
bin=$(dirname "$disk")
for program in xenpv-disk xenpv-doctor xenpv-evtchn xenpv-timer xenpv-ipi xenpv-sim; do
  [ -x "$bin/$program" ] || continue
  expect "$program reports lost output" "1 $program: cannot write to standard output" \
    "$(status=$(status_of closed '>&-' "$bin/$program" --help); [ "$program" != xenpv-doctor ] || [ "$status" = 0 ] || status=1
      echo "$status $(closed '>&-' "$bin/$program" --help 2>&1 || true)")"
  expect "$program works without stdin and stderr" 0 "$(status_of closed '<&- 2>&-' "$bin/$program" --version)"
done

# The command of `run` has usable streams.
expect "the command has all streams" "0 1 2" "$(closed '<&- 2>&-' "$disk" run xvdb -- sh -c '
  cd /proc/$$/fd; for number in 0 1 2; do [ -e $number ] && printf "%s " $number; done' | sed 's/ $//')"
passed
