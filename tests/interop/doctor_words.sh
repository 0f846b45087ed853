#!/usr/bin/env bash
# What xenpv-doctor says of captured guests, of a simulated one and of this machine, in all its forms:
# doctor_words.sh XENPV_SIM XENPV_DOCTOR
source "$(dirname "$0")/check.sh"
doctor=$2
here=$(dirname "$0")
captures=$here/../unit/diag/captures
schema=$here/../../packaging/schema/xenpv-doctor.schema.json
requires python3
for name in pv pvh hvm-vector hvm-intx dom0; do python3 "$here/evtchn_tree.py" unpack "$captures/$name.txt" "$dir/$name"; done

# How much an emulated host stole is not the point here.
sed -i 's/^\(cpu[0-9 ].*\) [0-9]* 0 0$/\1 0 0 0/' "$dir"/*/proc/stat

# on NAME OPTION...: that capture; its status does not end this script
on() {
  local name=$1
  shift
  "$doctor" --root "$dir/$name" "$@" 2>"$dir/said" || true
}

# rows, and what stands below those that are not good
seen=$(on hvm-intx)
expect_line "a row" '^PASS +domain +HVM guest on Xen 4\.17\.7, Linux 6\.1\.0-56-amd64, 2 CPUs$' "$seen"
expect_line "a bad one" '^FAIL +upcall +events come by a PCI interrupt: all to one CPU, without PV timers or PV IPIs$' "$seen"
expect_line "its evidence" '^ +/proc/interrupts xen-platform-pci: 536 0$' "$seen"
expect_line "its cure" "^ +-> take xen_no_vector_callback off the kernel's command line and boot again$" "$seen"
expect "no evidence below a good one" 0 "$(grep -c 'guest_type' <<<"$seen" || true)"
expect_line "but with -v" '^ +/sys/hypervisor/guest_type: HVM$' "$(on hvm-intx -v)"
expect_line "a summary" '^[0-9]+ PASS, [0-9]+ WARN, [0-9]+ FAIL, [0-9]+ UNKNOWN$' "$(cat "$dir/said")"

# the exit status is that of the worst row
expect "FAIL" 2 "$(status_of "$doctor" --root "$dir/hvm-intx")"
expect "UNKNOWN is no alarm" "0 0 1" \
  "$(on pv | grep -Ec '^(WARN|FAIL)' || true) $(status_of "$doctor" --root "$dir/pv") $(on pv | grep -c '^UNKNOWN' | sed 's/[1-9][0-9]*/1/')"
expect "unless asked to be" 1 "$(status_of "$doctor" --root "$dir/pv" --strict)"
for each in "$dir"/pv/proc/irq/*/smp_affinity_list; do echo 0 >"$each"; done
expect "WARN" 1 "$(status_of "$doctor" --root "$dir/pv")"

# what cannot be: not 1 or 2, which are results
expect "a wrong option" 64 "$(status_of "$doctor" --jsno)"
expect "a folder that is no capture" 64 "$(status_of "$doctor" --root "$dir")"
expect "measuring in a capture" 64 "$(status_of "$doctor" --root "$dir/pv" --measure 1s)"
expect "too short a time" 64 "$(status_of "$doctor" --measure 10ms)"
expect "a file that cannot be written" 70 "$(status_of "$doctor" --root "$dir/pv" --html "$dir/none/page.html")"
expect "a report that is not there" 70 "$(status_of "$doctor" compare "$dir/none" "$dir/none")"
expect_line "the manual page tells" '^\.B 64$' "$("$doctor" --help-man)"

# here, wherever this is
"$doctor" >"$dir/here" 2>/dev/null || true
if [[ $(cat /sys/hypervisor/type 2>/dev/null) != xen ]]; then
  expect_line "no Xen, and it says what" '^UNKNOWN +domain +no Xen domain: ' "$(cat "$dir/here")"
  expect_line "the clock is one anyway" '^(PASS|WARN) +clock-read +a look at the clock takes [0-9]+ ns' "$(cat "$dir/here")"
fi

# in a simulated guest: no /proc/interrupts, but xenstore, devices, and pages that can be shared
"$sim" run --disk xvdb,memory=4M -- "$doctor" >"$dir/simulated" 2>/dev/null || true
expect_line "a guest" '^PASS +domain +PVH guest on Xen ' "$(cat "$dir/simulated")"
expect_line "without interrupts" '^UNKNOWN +upcall +how events come in cannot be seen$' "$(cat "$dir/simulated")"
expect_line "with a disk that nobody drives" '^PASS +disk-xvdb +xvdb is not connected: nobody uses it$' "$(cat "$dir/simulated")"

# compare
on hvm-vector --json >"$dir/vector.json"
on hvm-intx --json >"$dir/intx.json"
compared=$("$doctor" compare "$dir/vector.json" "$dir/intx.json" 2>"$dir/said" || true)
expect_line "worse ones first" '^worse +row upcall +PASS: .* +FAIL: ' "$(sed -n 2p <<<"$compared")"
expect_line "what differs" '^different +clocksource +xen +hpet$' "$compared"
expect_line "what was not compared" '^not compared: timers and IPIs: both reports have to be made with --measure' "$(cat "$dir/said")"
expect "it got worse" 1 "$(status_of "$doctor" compare "$dir/vector.json" "$dir/intx.json")"
expect "it got better" 0 "$(status_of "$doctor" compare "$dir/intx.json" "$dir/vector.json")"
expect "the same is no change" "" "$("$doctor" compare "$dir/intx.json" "$dir/intx.json" 2>/dev/null)"
echo '{"schema": "xenpv-doctor.report", "schema_version": 1, "time": 5}' >"$dir/bad.json"
expect "a report that somebody wrote" "xenpv-doctor: $dir/bad.json: read a report: invalid argument (time is not a text): invalid argument" \
  "$("$doctor" compare "$dir/bad.json" "$dir/intx.json" 2>&1 | head -n 1)"
expect "is no result" 64 "$(status_of "$doctor" compare "$dir/bad.json" "$dir/intx.json")"

# files for others
on pvh --prometheus "$dir/xenpv.prom" --html "$dir/page.html" >/dev/null
expect_line "a metric" '^xen_events_total\{cpu="0",kind="timer"\} 5173$' "$(cat "$dir/xenpv.prom")"
expect "each has its type once" 0 "$(grep '^# TYPE' "$dir/xenpv.prom" | sort | uniq -d | wc -l)"
expect "nothing is left beside them" 0 "$(find "$dir" -maxdepth 1 -name '*.new' | wc -l)"
if command -v promtool >/dev/null; then expect "promtool takes them" 0 "$(status_of promtool check metrics <"$dir/xenpv.prom")"; fi
expect "a page" "<!DOCTYPE html>" "$(head -n 1 "$dir/page.html")"

# a short measurement, for the form; whether times are right is not to be seen on a busy machine
"$doctor" --measure 1s --json >"$dir/measured.json" 2>/dev/null || true
expect "of all CPUs" "$(nproc)" "$(grep -c '"late_ns"' "$dir/measured.json")"

# JSON is as its schema says
if python3 -c 'import jsonschema' 2>/dev/null; then
  for name in pv dom0 pvh; do on "$name" --json >"$dir/$name.json"; done
  "$doctor" compare --json "$dir/vector.json" "$dir/intx.json" >"$dir/compared.json" 2>/dev/null || true
  expect "all documents are valid" "6 xenpv-doctor.report 1 xenpv-doctor.comparison" \
    "$(python3 "$here/evtchn_tree.py" validate "$schema" "$dir"/{pv,dom0,pvh,vector,intx,measured,compared}.json | uniq -c | xargs)"
  sed 's/"verdict": "FAIL"/"verdict": "BAD"/' "$dir/intx.json" >"$dir/wrong.json"
  expect "and a wrong one is not" 1 "$(status_of python3 "$here/evtchn_tree.py" validate "$schema" "$dir/wrong.json")"
else
  echo "not checked: python3-jsonschema is not installed"
fi
passed
