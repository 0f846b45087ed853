#!/usr/bin/env bash
# doctor_output.sh XENPV_SIM XENPV_DOCTOR: tests the output of xenpv-doctor in all formats, for
# captured guests, a simulated guest and this machine.
source "$(dirname "$0")/check.sh"
doctor=$2
here=$(dirname "$0")
captures=$here/../unit/channels/captures
schema=$here/../../packaging/schema/xenpv-doctor.schema.json
requires python3
for name in pv pvh hvm-vector hvm-intx dom0; do python3 "$here/evtchn_tree.py" unpack "$captures/$name.txt" "$dir/$name"; done

# Clear the steal time, which the emulated host causes.
sed -i 's/^\(cpu[0-9 ].*\) [0-9]* 0 0$/\1 0 0 0/' "$dir"/*/proc/stat

# in_capture NAME OPTION...: runs xenpv-doctor on the capture and ignores the exit status
in_capture() {
  local name=$1
  shift
  "$doctor" --root "$dir/$name" "$@" 2>"$dir/stderr" || true
}

# rows, with evidence below rows that are not PASS
seen=$(in_capture hvm-intx)
expect_line "a row" '^PASS +domain +HVM guest on Xen 4\.17\.7, Linux 6\.1\.0-56-amd64, 2 CPUs$' "$seen"
expect_line "a failed row" '^FAIL +upcall +events arrive through a PCI interrupt: all on one CPU, without PV timers or PV IPIs$' "$seen"
expect_line "its evidence" '^ +/proc/interrupts xen-platform-pci: 536 0$' "$seen"
expect_line "its remedy" "^ +-> remove xen_no_vector_callback from the kernel command line and reboot$" "$seen"
expect "no evidence below a passed row" 0 "$(grep -c 'guest_type' <<<"$seen" || true)"
expect_line "evidence below a passed row with -v" '^ +/sys/hypervisor/guest_type: HVM$' "$(in_capture hvm-intx -v)"
expect_line "a summary" '^[0-9]+ PASS, [0-9]+ WARN, [0-9]+ FAIL, [0-9]+ UNKNOWN$' "$(cat "$dir/stderr")"

# the worst row determines the exit status
expect "FAIL" 2 "$(status_of "$doctor" --root "$dir/hvm-intx")"
expect "UNKNOWN is not a failure" "0 0 1" \
  "$(in_capture pv | grep -Ec '^(WARN|FAIL)' || true) $(status_of "$doctor" --root "$dir/pv") $(in_capture pv | grep -c '^UNKNOWN' | sed 's/[1-9][0-9]*/1/')"
expect "UNKNOWN with --strict" 1 "$(status_of "$doctor" --root "$dir/pv" --strict)"
for file in "$dir"/pv/proc/irq/*/smp_affinity_list; do echo 0 >"$file"; done
expect "WARN" 1 "$(status_of "$doctor" --root "$dir/pv")"

# the exit status of an error is neither 1 nor 2, because these are results
expect "an unknown option" 64 "$(status_of "$doctor" --jsno)"
expect "a directory that is not a capture" 64 "$(status_of "$doctor" --root "$dir")"
expect "a measurement on a capture" 64 "$(status_of "$doctor" --root "$dir/pv" --measure 1s)"
expect "a time that is too short" 64 "$(status_of "$doctor" --measure 10ms)"
expect "a file that cannot be written" 70 "$(status_of "$doctor" --root "$dir/pv" --html "$dir/none/page.html")"
expect "a missing report" 70 "$(status_of "$doctor" compare "$dir/none" "$dir/none")"
expect_line "the man page documents it" '^\.B 64$' "$("$doctor" --help-man)"

# on this machine
"$doctor" >"$dir/here" 2>/dev/null || true
if [[ $(cat /sys/hypervisor/type 2>/dev/null) != xen ]]; then
  expect_line "no Xen" '^UNKNOWN +domain +not a Xen domain: ' "$(cat "$dir/here")"
  expect_line "the clock is checked anyway" '^(PASS|WARN) +clock-read +a clock read takes [0-9]+ ns' "$(cat "$dir/here")"
fi

# in a simulated guest, which has xenstore, devices and grants, but not /proc/interrupts
"$sim" run --disk xvdb,memory=4M -- "$doctor" >"$dir/simulated" 2>/dev/null || true
expect_line "a guest" '^PASS +domain +PVH guest on Xen ' "$(cat "$dir/simulated")"
expect_line "without interrupts" '^UNKNOWN +upcall +event delivery cannot be determined$' "$(cat "$dir/simulated")"
expect_line "with an unused disk" '^PASS +disk-xvdb +xvdb is not connected: not in use$' "$(cat "$dir/simulated")"

# compare
in_capture hvm-vector --json >"$dir/vector.json"
in_capture hvm-intx --json >"$dir/intx.json"
compared=$("$doctor" compare "$dir/vector.json" "$dir/intx.json" 2>"$dir/stderr" || true)
expect_line "worse rows first" '^worse +row upcall +PASS: .* +FAIL: ' "$(sed -n 2p <<<"$compared")"
expect_line "differences" '^different +clocksource +xen +hpet$' "$compared"
expect_line "omitted comparisons" '^not compared: timers and IPIs: both reports must be made with --measure' "$(cat "$dir/stderr")"
expect "a worse report" 1 "$(status_of "$doctor" compare "$dir/vector.json" "$dir/intx.json")"
expect "a better report" 0 "$(status_of "$doctor" compare "$dir/intx.json" "$dir/vector.json")"
expect "two identical reports" "" "$("$doctor" compare "$dir/intx.json" "$dir/intx.json" 2>/dev/null)"
echo '{"schema": "xenpv-doctor.report", "schema_version": 1, "time": 5}' >"$dir/bad.json"
expect "an invalid report" "xenpv-doctor: $dir/bad.json: read a report: invalid argument (time is not a string): invalid argument" \
  "$("$doctor" compare "$dir/bad.json" "$dir/intx.json" 2>&1 | head -n 1)"
expect "an invalid report is an error" 64 "$(status_of "$doctor" compare "$dir/bad.json" "$dir/intx.json")"

# output files
in_capture pvh --prometheus "$dir/xenpv.prom" --html "$dir/page.html" >/dev/null
expect_line "a metric" '^xen_events_total\{cpu="0",kind="timer"\} 5173$' "$(cat "$dir/xenpv.prom")"
expect "each metric has one type" 0 "$(grep '^# TYPE' "$dir/xenpv.prom" | sort | uniq -d | wc -l)"
expect "no temporary file is left" 0 "$(find "$dir" -maxdepth 1 -name '*.new' | wc -l)"
if command -v promtool >/dev/null; then expect "promtool accepts the metrics" 0 "$(status_of promtool check metrics <"$dir/xenpv.prom")"; fi
expect "a page" "<!DOCTYPE html>" "$(head -n 1 "$dir/page.html")"

# a short measurement tests only the format, because times are unreliable on a busy machine
"$doctor" --measure 1s --json >"$dir/measured.json" 2>/dev/null || true
expect "a measurement covers all CPUs" "$(nproc)" "$(grep -c '"late_ns"' "$dir/measured.json")"

# JSON matches its schema
if python3 -c 'import jsonschema' 2>/dev/null; then
  for name in pv dom0 pvh; do in_capture "$name" --json >"$dir/$name.json"; done
  "$doctor" compare --json "$dir/vector.json" "$dir/intx.json" >"$dir/compared.json" 2>/dev/null || true
  expect "all documents are valid" "6 xenpv-doctor.report 1 xenpv-doctor.comparison" \
    "$(python3 "$here/evtchn_tree.py" validate "$schema" "$dir"/{pv,dom0,pvh,vector,intx,measured,compared}.json | uniq -c | xargs)"
  sed 's/"verdict": "FAIL"/"verdict": "BAD"/' "$dir/intx.json" >"$dir/wrong.json"
  expect "an invalid document is rejected" 1 "$(status_of python3 "$here/evtchn_tree.py" validate "$schema" "$dir/wrong.json")"
else
  echo "not checked: python3-jsonschema is not installed"
fi
passed
