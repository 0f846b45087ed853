#!/usr/bin/env bash
# evtchn_output.sh XENPV_SIM XENPV_EVTCHN: tests the output of xenpv-evtchn in all formats, for
# captured guests and a simulated guest.
source "$(dirname "$0")/check.sh"
evtchn=$2
here=$(dirname "$0")
captures=$here/../unit/channels/captures
schema=$here/../../packaging/schema/xenpv-evtchn.schema.json
requires python3 tar
for name in pv pvh dom0 cpus-64 xenlinux-dom0 moved-channels debug-rows; do python3 "$here/evtchn_tree.py" unpack "$captures/$name.txt" "$dir/$name"; done

# in_capture NAME COMMAND...: runs the command on the capture
in_capture() {
  local name=$1 command=$2
  shift 2
  "$evtchn" "$command" --root "$dir/$name" "$@" 2>"$dir/stderr"
}

# list
listed=$(in_capture pv list)
expect_line "the table has a header" '^IRQ +PORT +KIND +NAME +PEER +CPU +AFFINITY +EVENTS +BELONGS-TO$' "$listed"
expect "one line per channel" 22 "$(wc -l <<<"$listed")"
expect_line "a timer, whose port is unknown" '^ +0 +- +timer +timer0 +- +0 +0 +3229 +-$' "$listed"
expect_line "a queue of a disk" '^ +15 +~16 +device +blkif +0:\? +0 +0-1 +97 +device/vbd/51712 queue 1$' "$listed"
expect_line "a channel of a process" '^ +20 +- +user +evtchn:xenpv-sim .* process 310$' "$listed"
expect_line "the available sources" '^sources: xenstore, proc, processes$' "$(cat "$dir/stderr")"
expect_line "the missing sources" '^  not used: hypervisor \(.*\): not in the capture$' "$(cat "$dir/stderr")"
expect "channels of one kind" "8 ipi" "$(in_capture pv list --kind ipi | awk 'NR > 1 { print $3 }' | uniq -c | xargs)"
expect "channels of CPU 1" "14 16 18 20" "$(in_capture pv list --kind device --kind user --cpu 1 | awk 'NR > 1 { print $1 }' | xargs)"
expect "the ports of domain 0 match lsevtchn" "$(sed '1,/^== .xenpv.ports/d; /^== /,$d' "$captures/dom0.txt")" \
  "$(in_capture dom0 list --lsevtchn)"
expect "CSV has one line per channel" 42 "$(in_capture dom0 list --csv | wc -l)"
expect "CSV has one column per CPU" "events,cpu0,cpu1" "$(in_capture pv list --csv | head -n 1 | tr -d '\r' | grep -o 'events.*')"

# XenLinux, whose rows have other chips
expect "XenLinux" "4 timer 8 ipi 1 xenbus 1 console 5 pirq" \
  "$(in_capture xenlinux-dom0 list | awk 'NR > 1 { n[$3]++ } END { print n["timer"], "timer", n["ipi"], "ipi", n["xenbus"], "xenbus", n["console"], "console", n["pirq"], "pirq" }')"
expect "the type and ABI of XenLinux" '"type": "PV" "event_abi": "2-level"' \
  "$(in_capture xenlinux-dom0 list --json | grep -oE '"(event_abi|type)": "[^"]*"' | grep -v 'null' | sort -ru | xargs -d '\n')"
# before Linux 5.11, rows debugN do not show the ABI
expect "an ABI that cannot be known" '"event_abi": null' "$(in_capture debug-rows list --json | grep -o '"event_abi": .*')"
# without an effective affinity, the counts show where events went
expect "channels that have moved are on each CPU that counted them" "52 53 58 59 60" \
  "$(in_capture moved-channels list --cpu 2 | awk 'NR > 1 { print $1 }' | xargs)"
expect_line "their CPUs are inferred" '^ +58 +- +device +blkif +- +~0-3 +1 +77000 +-$' "$(in_capture moved-channels list)"
# lines that cannot be parsed
mkdir -p "$dir/partial/proc" "$dir/partial/sys/hypervisor"
echo xen >"$dir/partial/sys/hypervisor/type"
printf '     CPU0 CPU1\n 1: 9000 0 xen-dyn -event a\n 2: 9000 0 xen-dyn -event b\n 3: 7\n' >"$dir/partial/proc/interrupts"
expect "the other channels are listed" "1 2" "$(in_capture partial list | awk 'NR > 1 { print $1 }' | xargs)"
expect_line "the line is reported" '^ignored a line of /proc/interrupts: 1 counts for 2 CPUs: 3: 7$' "$(cat "$dir/stderr")"
expect_line "balance moves the others" '^ +1 +a +0 +1 +9000 +CPU 0 receives 100\.0 % of the events, CPU 1 receives 0\.0 %$' \
  "$(in_capture partial balance)"
expect_line "balance reports the line too" '^ignored a line of /proc/interrupts: ' "$(cat "$dir/stderr")"

# errors
expect "two formats at once" 2 "$(status_of in_capture pv list --json --csv)"
expect "an unknown kind" 2 "$(status_of in_capture pv list --kind disk)"
expect "a directory that is not a capture" 2 "$(status_of "$evtchn" list --root "$dir")"
expect_line "the error states the expected directory" 'it contains no proc/interrupts; unpack an archive made by xenpv-evtchn capture' \
  "$("$evtchn" list --root "$dir" 2>&1 || true)"
if [[ $(cat /sys/hypervisor/type 2>/dev/null) != xen ]]; then
  expect "no Xen here" 77 "$(status_of "$evtchn" list)"
  expect "no device here" 77 "$(status_of "$evtchn" ping)"
  expect "nothing to watch here" 77 "$(status_of timeout 60 "$evtchn" watch --iterations 1 --interval 0.1s)"
  expect_line "watch reports the reason" 'not a Xen guest; --root DIR reads a capture of a guest' \
    "$(timeout 60 "$evtchn" watch --iterations 1 --interval 0.1s 2>&1 || true)"
fi
expect "a broken /proc/interrupts is reported" "not used: proc (" \
  "$(mkdir -p "$dir/broken/proc" "$dir/broken/sys/hypervisor"; echo xen >"$dir/broken/sys/hypervisor/type"
     echo nonsense >"$dir/broken/proc/interrupts"; in_capture broken list >/dev/null; grep -o 'not used: proc (' "$dir/stderr")"

# balance
expect_line "the queues of the busiest CPU are moved, with a reason" \
  '^346 +blkif +0 +[0-9]+ +1000 +pinned: blkif goes to 1-3$' "$(in_capture cpus-64 balance --policy 'pin:blkif=1-3')"
expect "the shares before a plan are the counted ones" "$(in_capture moved-channels list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["events_per_cpu"])')" \
  "$(in_capture moved-channels balance --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["events_before"])')"
mkdir -p "$dir/many/proc" "$dir/many/sys/hypervisor"
echo xen >"$dir/many/sys/hypervisor/type"
(echo '  CPU0 CPU1'; for i in {1..41}; do echo " $((i + 10)): 1000 0 xen-dyn -event vif$i.0"; done) >"$dir/many/proc/interrupts"
expect "many small channels are spread" 21 "$(in_capture many balance | wc -l)"
sed -i 's/ 1000 / 10 /' "$dir/many/proc/interrupts"
expect "few events are not" "" "$(in_capture many balance)"
expect_line "the reason" '^410 events of channels that can move are too few to plan moves: at least 10000 are required$' "$(cat "$dir/stderr")"
expect "--apply is refused on a capture" 2 "$(status_of in_capture pv balance --apply)"
expect "no NUMA nodes" 77 "$(status_of in_capture pv balance --policy numa)"
expect "an unknown policy" 2 "$(status_of in_capture pv balance --policy best)"

# affinity and balance --apply, on a plain directory tree instead of a live /proc and /sys
in_tree() { XENPV_ROOT=$dir/$1 "$evtchn" "${@:2}" 2>"$dir/stderr"; }
expect_line "one channel is moved" '^blkif \(interrupt 14\) to CPU 0: set, no event arrived to prove it$' \
  "$(in_tree pv affinity 14 0 --interval 10ms)"
expect "its affinity was written" 0 "$(cat "$dir/pv/proc/irq/14/smp_affinity_list")"
expect "an ambiguous name" 2 "$(status_of in_tree pv affinity blkif 0)"
expect_line "the error lists the matching interrupts" "event channel 'blkif': invalid argument \(ambiguous: matches interrupts 14, 15, 16, 17, 18, 19; use the number\)" \
  "$(cat "$dir/stderr")"
expect "an unknown name" 2 "$(status_of in_tree pv affinity vif0 0)"
python3 "$here/evtchn_tree.py" grow "$dir/pv" 8 &
in_tree pv affinity 15 1 --interval 1s --json >"$dir/affinity.json" || true
expect "affinity fails if events still arrive on the old CPU" '"verdict": "elsewhere",' \
  "$(grep -o '"verdict": .*' "$dir/affinity.json")"
status=0
in_tree pv balance --apply --interval 1s --policy 'pin:xenbus=0' --json >"$dir/applied.json" || status=$?
expect "balance fails if events still arrive on the old CPU" 1 "$status"
expect_line "balance reports the reason" '"reason": "[0-9]+ of [0-9]+ events arrived elsewhere"' "$(cat "$dir/applied.json")"
wait
python3 "$here/evtchn_tree.py" make "$dir/wide" 300 128
expect "128 CPUs and 300 channels" "301 128" \
  "$(in_capture wide list --csv | wc -l) $(in_capture wide list --csv | head -n 1 | grep -o 'cpu[0-9]' | wc -l)"

# watch without a terminal
python3 "$here/evtchn_tree.py" grow "$dir/dom0" 4 &
watched=$(in_capture dom0 watch --interval 1s --iterations 2)
expect_line "a summary" '^[0-9]+ events/s, [0-9]+ % on CPU 0; balance 0\.[0-9]+, movable [01]\.[0-9]+ \(1 is even\)$' "$watched"
expect_line "a channel" '^ +[0-9]+ device +blkif-backend +[0-9.]+ CPU [01]$' "$watched"
expect "no control characters" 0 "$(grep -c $'\x1b' <<<"$watched" || true)"
in_capture dom0 watch --interval 500ms --iterations 2 --json >"$dir/watch.json"
expect "one document per line" 2 "$(wc -l <"$dir/watch.json")"
wait
mkdir -p "$dir/vanishing/proc"
printf '  CPU0\n 1: 5 xen-dyn -event a\n' >"$dir/vanishing/proc/interrupts"
(sleep 0.5; printf '  CPU0\n 2: 5 xen-dyn -event b\n' >"$dir/vanishing/proc/new"; mv "$dir/vanishing/proc/new" "$dir/vanishing/proc/interrupts") &
vanished=$(in_capture vanishing watch --interval 1s --iterations 1)
mkdir -p "$dir/foreign/proc"
printf '  CPU0\n 1: 5 xen-dyn -event evtchn:größer-als-zweiundzwanzig\n' >"$dir/foreign/proc/interrupts"
(sleep 0.3; sed 's/ 5 / 9 /' "$dir/foreign/proc/interrupts" >"$dir/foreign/proc/new"; mv "$dir/foreign/proc/new" "$dir/foreign/proc/interrupts") &
expect_line "a long name is truncated between characters" '^ +1 user +evtchn:größer-als-zwe\+ +' "$(in_capture foreign watch --interval 1s --iterations 1)"
expect_line "a new channel" '^new: b$' "$vanished"
expect_line "a removed channel" '^gone: a$' "$vanished"
wait

# capture of a simulated guest
(cd "$dir" && "$sim" run --disk xvdb,memory=4M -- "$evtchn" capture guest.tar 2>/dev/null && tar -xf guest.tar)
expect "its guest type" "PVH" "$(cat "$dir/xenpv-capture/sys/hypervisor/guest_type")"
expect_line "its console" '^console/port = "2"$' "$(cat "$dir/xenpv-capture/xenpv/store")"
rm -r "$dir/xenpv-capture"
XENPV_ROOT=$dir/dom0 "$evtchn" capture - 2>/dev/null | tar -x -C "$dir"
expect "a captured guest can be listed" "$(in_capture dom0 list --csv | cut -d, -f 1,5,19)" \
  "$(in_capture xenpv-capture list --csv | cut -d, -f 1,5,19)"

# ping in a simulated guest, which has no interrupt counts
"$sim" run -- "$evtchn" ping --count 200 --from 0 --to 0 --svg "$dir/ping.svg" >"$dir/ping" 2>"$dir/stderr"
expect_line "a matrix" '^0 +[0-9.]+ (ns|us|ms) \?$' "$(cat "$dir/ping")"
expect_line "each pair" '^ +0 +0 +200 +[0-9.]+ (ns|us|ms) .* unverified$' "$(cat "$dir/ping")"
expect_line "the reason" '^1 of 1 pairs unverified: .*/proc/interrupts cannot be read$' "$(cat "$dir/stderr")"
"$sim" run -- "$evtchn" ping --count 99 --from 0 --to 0 --svg "$dir/few.svg" >/dev/null 2>"$dir/stderr"
expect "a percentile needs enough samples, also in the chart" "1 0" \
  "$(grep -c 'p99' "$dir/ping.svg") $(grep -c 'p99' "$dir/few.svg" || true)"
expect "a chart" 'svg' "$(python3 -c "import sys, xml.dom.minidom; print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)" "$dir/ping.svg")"
expect "a CPU that does not exist" 2 "$(status_of "$sim" run -- "$evtchn" ping --from 8000)"

# the picture on stdout, instead of the text
"$sim" run -- "$evtchn" ping --count 20 --from 0 --to 0 --svg - >"$dir/ping" 2>"$dir/stderr"
expect "a chart on stdout" 'svg' "$(python3 -c "import sys, xml.dom.minidom; print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)" "$dir/ping")"
expect "two documents on stdout" 2 "$(status_of "$evtchn" ping --svg - --json)"
expect "a full device" 1 "$(status_of env XENPV_ROOT="$dir/dom0" "$evtchn" capture /dev/full)"
expect "it remains a device" "character special file" "$(stat -c %F /dev/full)"

# ping while the guest is saved and restored: closing a handle that was opened before the save would
# trigger a kernel BUG.
"$sim" start --dir "$host"
count=$((100000000 - $$))
in_domain 1 "$evtchn" ping --count "$count" --from 0 --to 0 --block >/dev/null 2>"$dir/stderr" &
pinging=$!
waited=0
until "$sim" status --dir "$host" | grep -q '"user_event_channels": 2' || [[ $((waited++)) -ge 100 ]]; do sleep 0.1; done
"$sim" domain save-restore --dir "$host" 1 >/dev/null
status=0
wait "$pinging" || status=$?
expect "ping exits with an error" 1 "$status"
expect_line "ping reports the reason" 'the guest was saved and restored during the measurement; start again' "$(cat "$dir/stderr")"
expect "no kernel BUG is recorded" "[]" "$("$sim" status --dir "$host" | python3 -c 'import json, sys; print(json.load(sys.stdin).get("kernel_bugs"))')"
"$sim" stop --dir "$host"
# The custodian would keep such handles until power-off.
{ pgrep -f -- "xenpv-evtchn ping --count $count" || true; } | xargs -r kill -9

# JSON matches its schema
if python3 -c 'import jsonschema' 2>/dev/null; then
  for name in pv dom0 pvh cpus-64; do in_capture "$name" list --json >"$dir/list-$name.json"; done
  in_capture cpus-64 balance --json --policy 'pin:blkif=1-3' >"$dir/balance.json"
  "$sim" run -- "$evtchn" ping --count 200 --json >"$dir/ping.json" 2>/dev/null
  expect "all documents are valid" \
    "xenpv-evtchn.list xenpv-evtchn.list xenpv-evtchn.list xenpv-evtchn.list xenpv-evtchn.balance xenpv-evtchn.balance xenpv-evtchn.affinity xenpv-evtchn.ping xenpv-evtchn.watch xenpv-evtchn.watch" \
    "$(python3 "$here/evtchn_tree.py" validate "$schema" "$dir"/list-{pv,dom0,pvh,cpus-64}.json \
      "$dir/balance.json" "$dir/applied.json" "$dir/affinity.json" "$dir/ping.json" "$dir/watch.json" | xargs)"
  sed 's/"kind": "timer"/"kind": "clock"/' "$dir/list-pv.json" >"$dir/wrong.json"
  expect "an invalid document is rejected" 1 "$(status_of python3 "$here/evtchn_tree.py" validate "$schema" "$dir/wrong.json")"
else
  echo "not checked: python3-jsonschema is not installed"
fi
passed
