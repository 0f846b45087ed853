#!/usr/bin/env bash
# static_program.sh XENPV_SIM CONTRACT_TESTS: tests --intercept-syscalls with a statically linked program, and
# with Xen's own libraries in a program that does not load libxensim.so.
. "$(dirname "$0")/check.sh"
contract_tests=$2
export TMPDIR=$dir
requires gcc python3 xenstore-read
program=$dir/static_program
intercepted() { "$sim" run --intercept-syscalls "$@"; }

gcc -O1 -Wall -static -pthread -o "$program" "$(dirname "$0")/static_program.c" ||
  { echo "skipped: gcc cannot link statically"; exit 77; }
if [ "$(status_of intercepted -- true)" = 77 ]; then
  intercepted -- true || true
  echo "skipped: system calls cannot be intercepted here"
  exit 77
fi

expect "without the option, there are no devices" 1 "$(status_of "$sim" run -- "$program")"
expect_line "the devices in a guest" '^domain 1$' "$(intercepted -- "$program" 2>&1 || true)"
expect_line "the devices in domain 0" '^domain 0$' "$(intercepted --domain 0 -- "$program" 2>&1 || true)"
expect_line "the devices in a guest with hypercalls" '^domain 1$' \
  "$(intercepted --guest-hypercalls -- "$program" privileged 2>&1 || true)"
warning='cannot open /dev/xen/gntdev: .* \(link the program dynamically\)$'
expect_line "grants are refused with a warning" "$warning" "$(intercepted -- "$program" 2>&1 >/dev/null)"
expect "one warning for each device" 2 "$(intercepted -- sh -c '"$0"; "$0"' "$program" 2>&1 | grep -c warning)"
expect "a program that loads libxensim.so" 1 "$(intercepted -- xenstore-read domid)"

# The command line.
expect "the command's exit status" 7 "$(status_of intercepted -- sh -c 'exit 7')"
expect "a command killed by a signal" 137 "$(status_of intercepted -- sh -c 'kill -9 $$')"
expect "a missing command" 127 "$(status_of intercepted -- no-such-command)"
expect "standard input reaches the command" hello "$(echo hello | intercepted -- cat)"
expect "system calls are intercepted once" 77 "$(status_of intercepted -- "$sim" run --intercept-syscalls -- true)"
expect_line "the error names the reason" 'another supervisor' \
  "$(intercepted -- "$sim" run --intercept-syscalls -- true 2>&1 || true)"
intercepted -- sh -c "sleep 1000 & echo \$! >'$dir/pid'"
expect "background processes have ended" 1 "$(status_of kill -0 "$(cat "$dir/pid")")"

# Programs with and without libxensim.so share handles.
expect "an inherited descriptor" "0" "$(status_of intercepted -- sh -c 'exec 9<>/dev/xen/evtchn; "$0" inherited' "$program")"

# The host knows the processes, not only the supervisor.
"$sim" start --dir "$host"
"$sim" exec --dir "$host" --intercept-syscalls -- "$program" hold >"$dir/port" &
supervised=$!
has_port() { [ -s "$dir/port" ]; }
wait_for "the program binds a port" has_port
process=$("$sim" status --dir "$host" | python3 -c '
import json, sys
print(*json.load(sys.stdin)["domains"][1]["processes"])')
expect "status lists the program" static_program "$(cat "/proc/$process/comm")"
expect "save-restore" 1 "$("$sim" domain save-restore --dir "$host" --same-number 1)"
kill "$process"
status=0
wait "$supervised" || status=$?
expect "exec reports the signal" 143 "$status"
has_bug() { [ "$("$sim" status --dir "$host" | grep -c "opened by process $process")" = 1 ]; }
wait_for "the kernel BUG names the program" has_bug

# exec does not wait for background processes, which can still use the devices.
mkfifo "$dir/go"
out=$("$sim" exec --dir "$host" --domain 0 --intercept-syscalls -- sh -c \
  '{ read line <"$0/go"; "$1"; } >"$0/later" 2>&1 & echo started' "$dir" "$program" 2>&1)
expect "exec returns before the background process" started "$out"
echo go >"$dir/go"
has_finished() { grep -q '^domain 0$' "$dir/later"; }
wait_for "the background process is served" has_finished
"$sim" stop --dir "$host"

# Xen's libraries use the intercepted devices as they would on real Xen.
without_library() { intercepted "${@:2}" -- env -u LD_PRELOAD -u XENSTORED_PATH "$contract_tests" --gtest_filter="$1" 2>&1; }
# xentoolcore_restrict_all is also tested with grants.
events='event_*-event_restrict_all.*'
expect_line "libxenevtchn in a guest" '\[  PASSED  \] [0-9]+ tests' "$(without_library "$events" || true)"
expect "no case fails" 0 "$(status_of without_library "$events")"
expect "libxenevtchn in domain 0" 0 "$(status_of without_library "$events" --domain 0)"
expect "libxenstore through /dev/xen/xenbus" 0 "$(status_of without_library 'store_*')"
passed
