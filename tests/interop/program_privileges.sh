#!/usr/bin/env bash
# program_privileges.sh XENPV_SIM XENPV_EVTCHN XENPV_TIMER XENPV_IPI XENPV_DOCTOR: tests that the programs
# that read and measure keep only the capabilities that they need.
. "$(dirname "$0")/check.sh"
evtchn=$2 timer=$3 ipi=$4 doctor=$5
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }

field_of() { sed -n "s/^$2:\t//p" "/proc/$1/status"; }
has_limits() { [ "$(field_of "$1" NoNewPrivs)" = 1 ]; }
own=$((16#$(field_of self CapEff)))

# expect_capabilities WHAT EXPECTED_HEX CMD...: checks the sets of all threads of a running program.
expect_capabilities() {
  local what=$1 expected process task
  expected=$(printf '%016x' $((16#$2 & own)))
  shift 2
  "$@" >"$dir/out" 2>"$dir/log" &
  process=$!
  wait_for "$what has no_new_privs" has_limits "$process"
  for task in "/proc/$process/task"/*; do
    for set in CapPrm CapEff CapBnd; do
      expect "$what: $set" "$expected" "$(sed -n "s/^$set:\t//p" "$task/status")"
    done
    expect "$what: CapAmb" 0000000000000000 "$(sed -n 's/^CapAmb:\t//p' "$task/status")"
  done
  kill -9 "$process"
  wait "$process" 2>/dev/null || true
}

# Reading this capture blocks, so the programs stay where they are.
mkdir -p "$dir/capture/proc"
mkfifo "$dir/capture/proc/interrupts"
nice=800000 files=2 ptrace=80000 log=400000000
all=$(printf '%x' $((16#$nice | 16#$files | 16#$ptrace | 16#$log)))
expect_capabilities xenpv-timer "$nice" "$timer" --duration 1h
expect_capabilities xenpv-ipi $((nice + files)) "$ipi" --method membarrier --count 100000000
expect_capabilities xenpv-evtchn "$all" "$evtchn" list --root "$dir/capture"
expect_capabilities xenpv-doctor "$all" env XENPV_ROOT="$dir/capture" "$doctor"

expect_line "help names what is missing without root: timer" 'Without root, SCHED_FIFO' "$("$timer" --help)"
expect_line "help names what is missing without root: ipi" 'Without root, SCHED_FIFO' "$("$ipi" --help)"
expect_line "help names what is missing without root: evtchn" 'Without root, ports' "$("$evtchn" --help)"
expect_line "help names what is missing without root: doctor" 'Without root, rows' "$("$doctor" --help)"
passed
