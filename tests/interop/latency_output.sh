#!/usr/bin/env bash
# latency_output.sh XENPV_SIM XENPV_TIMER XENPV_IPI: tests the output of xenpv-timer and xenpv-ipi in
# all formats, on this machine, on captured guests and in a simulated guest.
source "$(dirname "$0")/check.sh"
timer=$2
ipi=$3
here=$(dirname "$0")
schemas=$here/../../packaging/schema
requires python3
for name in pv pvh hvm-intx arm64-guest; do
  python3 "$here/evtchn_tree.py" unpack "$here/../unit/channels/captures/$name.txt" "$dir/$name"
done
cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
cpus=$(nproc)

# in_capture NAME COMMAND...: runs the command with the captured guest's /proc and /sys
in_capture() { XENPV_ROOT=$dir/$1 "${@:2}" 2>"$dir/stderr"; }
# json_of EXPRESSION FILE: evaluates a Python expression on the document `d` in FILE
json_of() { python3 -c 'import json, sys; d = json.load(open(sys.argv[2])); print(eval(sys.argv[1]))' "$1" "$2"; }

# xenpv-timer on this machine
"$timer" --cpus "$cpu" --interval 1ms --duration 300ms >"$dir/here" 2>"$dir/stderr" || true
expect_line "the method and policy" '^late after clock_nanosleep every 1.00 ms, SCHED_(FIFO 80|OTHER with a timer slack of 1 ns):$' \
  "$(cat "$dir/here")"
expect_line "the results; p99 needs 1000 periods" \
  "^ +$cpu +[0-9]+ +[0-9]+( +[0-9.]+ [num]?s){4} +- +- +[0-9.]+ [num]?s +[0-9.]+/s +[a-z]+\$" "$(cat "$dir/here")"
expect_line "the timers that fired" '^CPU +TIMER +MIN-DELTA +NEEDED +PV-EVENTS +LOC +STEAL +RUNNABLE +WAITED$' "$(cat "$dir/here")"
if [[ $(cat /sys/hypervisor/type 2>/dev/null) != xen ]]; then
  expect_line "no Xen" '^not a Xen guest: ' "$(cat "$dir/stderr")"
  if grep -q '^LOC' /proc/interrupts; then
    expect "wake-ups by the timer of this machine are verified" "verified" "$(awk 'NR == 3 { print $NF }' "$dir/here")"
  fi
fi
"$timer" --cpus "$cpu" --duration 300ms --histogram >"$dir/bars" 2>/dev/null || true
expect_line "a histogram" '^ +< [0-9.]+ (us|ms) +[0-9]+ #+$' "$(cat "$dir/bars")"
"$timer" --cpus "$cpu" --method spin --duration 100ms >"$dir/gaps" 2>/dev/null
expect_line "gaps" "^ +$cpu +[0-9.]+ ms +[0-9]+ .* [0-9.]+% " "$(cat "$dir/gaps")"
expect "without a timer, there is no split" "no split: no timer is used" \
  "$("$timer" --cpus "$cpu" --method spin --duration 10ms --split 2>&1 >/dev/null | grep split)"

# after Ctrl-C, xenpv-timer reports the results so far
"$timer" --cpus "$cpu" --duration 60min --json >"$dir/early.json" 2>"$dir/stderr" &
timing=$!
waited=0
until [[ $(ls /proc/$timing/task 2>/dev/null | wc -l) -ge 2 ]] || [[ $((waited++)) -ge 100 ]]; do sleep 0.1; done
sleep 0.3
kill -INT "$timing"
wait "$timing" || true
expect "the document is complete" "True 1" "$(json_of 'str(d["ended_early"]) + " " + str(len(d["cpus"]))' "$dir/early.json")"
expect_line "a note that it ended early" '^the measurement ended early$' "$(cat "$dir/stderr")"

# on captured guests, where counts never change, all wake-ups are refuted
status=0
in_capture pvh "$timer" --cpus "$cpu" --duration 100ms >/dev/null || status=$?
expect "a refuted measurement fails" 1 "$status"
expect_line "the reason is reported" "^CPU $cpu is refuted: [0-9]+ wake-ups, and row timer$cpu counted 0\$" "$(cat "$dir/stderr")"
status=0
in_capture hvm-intx "$timer" --cpus "$cpu" --duration 100ms >/dev/null || status=$?
expect "a measurement without PV timer fails" 1 "$status"
expect_line "the refuted CPU is reported" "^CPU $cpu is refuted: " "$(cat "$dir/stderr")"

# on ARM, where the generic timer is the right one
in_capture arm64-guest "$timer" --cpus "$cpu" --duration 100ms >"$dir/arm" || true
expect_line "the generic timer's row is compared" "^CPU $cpu is refuted: [0-9]+ wake-ups, and row arch_timer counted 0\$" "$(cat "$dir/stderr")"
expect_line "its evidence" '^CPU +TIMER +MIN-DELTA +NEEDED +ARCH-TIMER +STEAL +RUNNABLE +WAITED$' "$(cat "$dir/arm")"

# in a simulated guest, which has no interrupt counts
"$sim" run -- "$timer" --cpus "$cpu" --duration 100ms --split >"$dir/simulated" 2>"$dir/stderr"
expect_line "an unverified measurement succeeds" ' unverified$' "$(cat "$dir/simulated")"
expect_line "the reason for the missing split" '^no split: trace the kernel.s timers: .*a captured or simulated guest has no kernel to trace' "$(cat "$dir/stderr")"

# errors
expect "a CPU that may not be used" 2 "$(status_of "$timer" --cpus 8000)"
expect "an unknown method" 2 "$(status_of "$timer" --method sleep)"
expect "an interval that is too short" 2 "$(status_of "$timer" --interval 1us)"
expect_line "the allowed range" "--interval '1us': invalid argument \(expected 10.0 us to 10.0 s\)" \
  "$("$timer" --interval 1us 2>&1 || true)"
if command -v setpriv >/dev/null && [[ $(id -u) -eq 0 ]]; then
  # Other users may not have access to the build directory.
  cp "$timer" "$dir/timer" && chmod 755 "$dir" "$dir/timer"
  nobody() { setpriv --reuid=65534 --clear-groups prlimit --rtprio=0 "$dir/timer" "$@"; }
  if nobody --version >/dev/null 2>&1; then
    expect "SCHED_FIFO is required but not permitted" 77 "$(status_of nobody --policy fifo --duration 10ms)"
    nobody --cpus "$cpu" --duration 50ms >"$dir/other" 2>"$dir/stderr" || true
    expect_line "SCHED_FIFO is not permitted: a warning" '^SCHED_FIFO 80 is refused \(operation not permitted\): ' "$(cat "$dir/stderr")"
    expect_line "the table shows the actual policy" 'SCHED_OTHER with a timer slack of 1 ns:$' "$(cat "$dir/other")"
  fi
fi

# xenpv-ipi
counts=no
if grep -q '^ *CAL:' /proc/interrupts && [[ $cpus -ge 2 ]]; then counts=yes; fi
if [[ $counts == yes ]]; then
  "$ipi" --method membarrier --count 100 --batch 20 --svg "$dir/ipi.svg" >"$dir/here" 2>"$dir/stderr" || true
  expect_line "a matrix" '^from CPU( +[0-9]+)+$' "$(cat "$dir/here")"
  expect_line "each pair" '^ +[0-9]+ +[0-9]+ +[0-9]+ .* [0-9]+/[0-9]+ +[a-z]+$' "$(cat "$dir/here")"
  # On busy CPUs, all batches may be discarded.
  expect_line "the kind of IPIs" '^IPIs are ((pv|native): event channels counted [0-9]+ IPIs, RES and CAL [0-9]+|unknown: no IPI was counted)' "$(cat "$dir/here")"
  expect "a chart" svg "$(python3 -c "import sys, xml.dom.minidom; print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)" "$dir/ipi.svg")"
  expect "no control characters without a terminal" 0 "$(grep -c $'\x1b' "$dir/here" || true)"
fi
# In a captured guest, the IPI counts never change, as if no IPI had been sent.
status=0
if [[ $cpus -ge 2 ]]; then
  in_capture pvh "$ipi" --method membarrier --from 0 --to 1 --count 20 --batch 10 --json >"$dir/trap.json" || status=$?
  expect "a time without IPIs is not reported" "refuted None 11" \
    "$(json_of '" ".join(str(d["pairs"][0][k]) for k in ("verdict", "round_trip_ns", "batches_thrown_away"))' "$dir/trap.json")"
  expect "a refuted IPI measurement fails" 1 "$status"
  expect_line "the reason for the refutation is reported" '^1 times: refuted: 10 calls, and CPU 1 counted 0 IPIs: the measuring thread there was not always running$' "$(cat "$dir/stderr")"
fi
if [[ $cpus -ge 2 ]]; then
  in_capture arm64-guest "$ipi" --method membarrier --from 0 --to 1 --count 20 --batch 10 >/dev/null || true
  expect_line "on ARM, IPIs are counted by the GIC's rows" '^1 times: refuted: 10 calls, and CPU 1 counted 0 IPIs: ' "$(cat "$dir/stderr")"
fi
expect "two documents on stdout" 2 "$(status_of "$ipi" --count 1 --svg - --json)"
expect "a broadcast alone has no chart" 2 "$(status_of "$ipi" --method broadcast --count 1 --svg "$dir/none.svg")"
expect "a CPU that may not be used" 2 "$(status_of "$ipi" --from 8000)"

# JSON matches its schema
if python3 -c 'import jsonschema' 2>/dev/null; then
  "$timer" --cpus "$cpu" --method spin --duration 50ms --json >"$dir/spin.json" 2>/dev/null
  "$timer" --cpus "$cpu" --duration 50ms --split --json >"$dir/split.json" 2>/dev/null || true
  "$sim" run -- "$timer" --duration 50ms --json >"$dir/sim.json" 2>/dev/null
  expect "all documents of xenpv-timer are valid" "xenpv-timer xenpv-timer xenpv-timer xenpv-timer" \
    "$(python3 "$here/evtchn_tree.py" validate "$schemas/xenpv-timer.schema.json" "$dir"/{early,spin,split,sim}.json | xargs)"
  "$ipi" --count 20 --batch 10 --json >"$dir/ipi.json" 2>/dev/null || true
  "$sim" run -- "$ipi" --count 20 --batch 10 --json >"$dir/sim-ipi.json" 2>/dev/null || true
  expect "all documents of xenpv-ipi are valid" "xenpv-ipi xenpv-ipi" \
    "$(python3 "$here/evtchn_tree.py" validate "$schemas/xenpv-ipi.schema.json" "$dir"/{ipi,sim-ipi}.json | xargs)"
  sed 's/"pv"/"quick"/; s/"native"/"quick"/; s/"unknown"/"quick"/' "$dir/ipi.json" >"$dir/wrong.json"
  expect "an invalid document is rejected" 1 "$(status_of python3 "$here/evtchn_tree.py" validate "$schemas/xenpv-ipi.schema.json" "$dir/wrong.json")"
else
  echo "not checked: python3-jsonschema is not installed"
fi
passed
