#!/usr/bin/env bash
# doctor_output.sh XENPV_SIM XENPV_DOCTOR: tests the output of xenpv-doctor in all formats, for
# captured guests, a simulated guest and this machine.
source "$(dirname "$0")/check.sh"
doctor=$2
here=$(dirname "$0")
captures=$here/../unit/channels/captures
schema=$here/../../packaging/schema/xenpv-doctor.schema.json
requires python3
# The rows, unwrapped. Without a terminal, the text has 80 columns.
export COLUMNS=1000
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

# a capture that contains only a kernel log
python3 "$here/evtchn_tree.py" unpack "$captures/pv-log-only.txt" "$dir/log-only"
seen=$(in_capture log-only)
expect_line "a domain known from its log" '^PASS +domain +PV domain \(guest or dom0\) on Xen 4\.4\.3, Linux 3\.10\.96-13\.pvops\.qubes\.x86_64$' "$seen"
expect_line "errors in the log" "^FAIL +log-xenbus +a network interface does not work, because it has no MAC address: vif-0 " "$seen"
expect_line "the line of the log" '^ +kernel log: vif vif-0: 5 starting transaction$' "$seen"

# an ABI that the guest's owner cannot change does not set the exit status
python3 "$here/evtchn_tree.py" unpack "$captures/pv-no-type.txt" "$dir/two-level"
expect "2-level event channels of an old host" 0 "$(status_of "$doctor" --root "$dir/two-level")"

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

# the text fits the terminal: worst rows first, UNKNOWN rows with one cause as one entry
python3 "$here/evtchn_tree.py" unpack "$captures/moved-channels.txt" "$dir/moved"
in_capture hvm-intx >"$dir/wide"
COLUMNS= in_capture hvm-intx >"$dir/narrow"
expect "80 columns without a terminal" "" "$(grep -E '^.{81}' "$dir/narrow" | grep -E ' .* ' || true)"
expect "as many as COLUMNS allows" 1 "$(grep -cE '^.{81}' "$dir/wide" | sed 's/[1-9][0-9]*/1/')"
expect "no word is lost" "$(tr -s ' \n' '\n' <"$dir/wide")" "$(tr -s ' \n' '\n' <"$dir/narrow")"
expect "the worst rows come first" "FAIL WARN UNKNOWN PASS" "$(grep -oE '^[A-Z]+' "$dir/wide" | uniq | xargs)"
seen=$(in_capture moved)
expect_line "rows with one cause" '^UNKNOWN +2 rows +cannot be determined: clock-read, migration$' "$seen"
expect "their remedy once" 1 "$(grep -c -- '-> run xenpv-doctor in the guest itself' <<<"$seen")"
expect "each row with -v" 2 "$(in_capture moved -v | grep -cE '^UNKNOWN +(clock-read|migration) ')"
echo 'not parsed' >"$dir/moved/proc/interrupts"
expect "evidence is not repeated as remedy" 0 "$(in_capture moved | awk '/->/ { sub(/.*-> /, ""); if (index(before, $0)) n++ } { before = $0 } END { print n + 0 }')"

# on this machine
"$doctor" >"$dir/here" 2>/dev/null || true
if [[ $(cat /sys/hypervisor/type 2>/dev/null) != xen ]]; then
  expect_line "no Xen" '^UNKNOWN +domain +not a Xen domain: ' "$(cat "$dir/here")"
  expect_line "the clock is checked anyway" '^(PASS|WARN) +clock-read +a clock read takes [0-9]+ ns' "$(cat "$dir/here")"
fi

# in a simulated guest, which has xenstore, devices and grants, but not /proc/interrupts
"$sim" run --disk xvdb,memory=4M -- "$doctor" >"$dir/simulated" 2>/dev/null || true
expect_line "a guest that is simulated" '^PASS +domain +PVH guest on Xen .*, simulated by xenpv-sim$' "$(cat "$dir/simulated")"
expect_line "without interrupts" '^UNKNOWN +[0-9]+ rows +cannot be determined: upcall, ' "$(cat "$dir/simulated")"
expect_line "with an unused disk" '^PASS +disk-xvdb +xvdb is not connected: not in use$' "$(cat "$dir/simulated")"

# compare
in_capture hvm-vector --json >"$dir/vector.json"
in_capture hvm-intx --json >"$dir/intx.json"
compared=$("$doctor" compare "$dir/vector.json" "$dir/intx.json" 2>"$dir/stderr" || true)
expect_line "worse rows first" '^worse +row upcall +PASS: .* +FAIL: ' "$(sed -n 2p <<<"$compared")"
expect_line "differences" '^different +clocksource +xen +hpet$' "$compared"
expect_line "omitted comparisons" '^not compared: timers and IPIs: both reports must be made with --measure' "$(cat "$dir/stderr")"
COLUMNS=80 "$doctor" compare "$dir/vector.json" "$dir/intx.json" >"$dir/narrow" 2>"$dir/stderr" || true
expect "a comparison of 80 columns" "" "$(grep -E '^.{81}' "$dir/narrow" || true)"
expect_line "each change is a paragraph" '^  before +PASS: ' "$(cat "$dir/narrow")"
expect "a page of a comparison is refused" 64 "$(status_of "$doctor" compare "$dir/vector.json" "$dir/intx.json" --html "$dir/none.html")"
expect "a worse report" 1 "$(status_of "$doctor" compare "$dir/vector.json" "$dir/intx.json")"
expect "a better report" 0 "$(status_of "$doctor" compare "$dir/intx.json" "$dir/vector.json")"
expect "two identical reports" "" "$("$doctor" compare "$dir/intx.json" "$dir/intx.json" 2>/dev/null)"
echo '{"schema": "xenpv-doctor.report", "schema_version": 1, "time": 5}' >"$dir/bad.json"
expect "an invalid report" "xenpv-doctor: $dir/bad.json: read a report: invalid argument (time is not a string): invalid argument" \
  "$("$doctor" compare "$dir/bad.json" "$dir/intx.json" 2>&1 | head -n 1)"
expect "an invalid report is an error" 64 "$(status_of "$doctor" compare "$dir/bad.json" "$dir/intx.json")"

# output files
in_capture pvh --prometheus "$dir/xenpv.prom" --html "$dir/page.html" >/dev/null
expect "metrics are readable for everyone" 644 "$(umask 077; in_capture pvh --prometheus "$dir/private.prom" >/dev/null; stat -c %a "$dir/private.prom")"
expect "metrics on stdout, instead of the rows" "$(cat "$dir/xenpv.prom")" "$(in_capture pvh --prometheus -)"
expect "two outputs on stdout" 64 "$(status_of "$doctor" --root "$dir/pvh" --json --html -)"
ln -s link-target.html "$dir/link.html"
in_capture pvh --html "$dir/link.html" >/dev/null
expect "a symbolic link stays" "symbolic link regular file" "$(stat -c %F "$dir/link.html" "$dir/link-target.html" | xargs -d '\n')"
expect "a full device" 70 "$(status_of "$doctor" --root "$dir/pvh" --html /dev/full)"
expect "it remains a device" "character special file" "$(stat -c %F /dev/full)"
mkfifo "$dir/fifo"
cat "$dir/fifo" >"$dir/received" &
in_capture pvh --html "$dir/fifo" >/dev/null
wait $!
expect "a FIFO's reader receives the page" "fifo <!DOCTYPE html>" "$(stat -c %F "$dir/fifo") $(head -c 15 "$dir/received")"
expect_line "a metric" '^xenpv_events_total\{cpu="0",kind="timer"\} 5173$' "$(cat "$dir/xenpv.prom")"
last_run=$(sed -n 's/^xenpv_doctor_last_run_timestamp_seconds //p' "$dir/xenpv.prom")
expect "the time of the run" yes "$([[ $last_run -le $(date +%s) && $last_run -gt $(($(date +%s) - 300)) ]] && echo yes)"
names=$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' "$dir/xenpv.prom" | sort)
manual=$(sed -n '/METRICS OF THE GUEST/,$ s/^\.B \(xenpv_[a-z_]*\)$/\1/p' "$here/../../packaging/man/xenpv-monitoring.7" | sort)
expect "the manual page lists all metrics" "" "$(comm -23 <(echo "$names") <(echo "$manual"))"
rules=$here/../../packaging/prometheus/xenpv-doctor.rules.yml
expect "the rules use known metrics" "" "$(grep -o 'xenpv_[a-z_]*' "$rules" | sort -u | comm -23 - <(echo "$manual"))"
expect "each metric has one type" 0 "$(grep '^# TYPE' "$dir/xenpv.prom" | sort | uniq -d | wc -l)"
expect "no temporary file is left" 0 "$(find "$dir" -maxdepth 1 -name '*.new' | wc -l)"
if command -v promtool >/dev/null; then
  expect "promtool accepts the metrics without a remark" "0 " "$(status_of promtool check metrics <"$dir/xenpv.prom") \
$(promtool check metrics <"$dir/xenpv.prom" 2>&1)"
  cp "$rules" "$here/xenpv-doctor.rules.test.yml" "$dir"
  expect "promtool accepts the rules" 0 "$(status_of promtool check rules "$rules")"
  expect "each alert fires when it should, and only then" 0 "$(status_of promtool test rules "$dir/xenpv-doctor.rules.test.yml")"
fi
expect "a page has the label" 1 "$(in_capture pvh --label 'web <1>' --html - | grep -c '<h1>web &lt;1&gt;</h1>')"
expect "a report has the label" '"name": "web <1>"' "$(in_capture pvh --label 'web <1>' --json | grep -o '"name": "web[^,]*"')"
expect "a capture has no label" '"name": ""' "$(in_capture pvh --json | grep -o '"name": ""' | head -n 1)"
expect "a label with compare" 64 "$(status_of "$doctor" compare "$dir/vector.json" "$dir/intx.json" --label x)"
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
