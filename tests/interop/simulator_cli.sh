#!/usr/bin/env bash
# Tests the xenpv-sim command line: exit statuses, cleanup, messages.
. "$(dirname "$0")/check.sh"
export TMPDIR=$dir

expect "xenpv-sim run returns the command's exit status" 7 "$(status_of "$sim" run -- sh -c 'exit 7')"
expect "a command killed by a signal has the same status as in a shell" 137 "$(status_of "$sim" run -- sh -c 'kill -9 $$')"
expect "a missing command" 127 "$(status_of "$sim" run -- no-such-command)"
expect "standard input reaches the command" hello "$(echo hello | "$sim" run -- cat)"
expect "no files are left behind" "" "$(ls "$dir")"

# Background processes are killed when the host stops.
"$sim" run -- sh -c "sleep 1000 & echo \$! >'$dir/pid'"
expect "background processes have ended" 1 "$(status_of kill -0 "$(cat "$dir/pid")")"
rm "$dir/pid"

"$sim" run --report "$dir/report" -- true
expect "the report has no kernel BUG" '[]' "$(python3 -c "
import json, sys
print(json.load(open('$dir/report'))['kernel_bugs'])")"

expect "demo" 0 "$(status_of "$sim" demo --count 200)"
expect_line "demo prints one line of latencies" \
  '^ping: domain 1 <-> domain 0: 200 round trips .* p50 [0-9.]+ [mun]?s, p99 ' "$("$sim" demo --count 200)"

expect "an invalid option" 2 "$(status_of "$sim" run --no-such-option -- true)"
expect "a command is required" 2 "$(status_of "$sim" run)"
expect_line "the error for an invalid disk names the option" "disk|xvdb" "$("$sim" run --disk xvdb -- true 2>&1 || true)"
expect_line "the error for an unknown fault lists the known faults" "fault 'gremlins'.*event-lost" \
  "$("$sim" run --fault gremlins -- true 2>&1 || true)"

# Disks.
expect_line "the error for an unknown disk fault lists the known faults" "disk xvdb: disk fault 'x'.*expected error=N" \
  "$("$sim" run --disk xvdb,null=1M,fault=x -- true 2>&1 || true)"
expect_line "a feature that the backend does not support is refused" 'a qemu backend has at most 1' \
  "$("$sim" run --disk xvdb,null=1M,backend=qemu,queues=2 -- true 2>&1 || true)"
expect "backends are in InitWait before the command runs" 2222 "$("$sim" run \
  --disk xvdb,memory=1M --disk xvdc,null=1T,backend=qemu --disk xvdd,null=1M,backend=tapdisk \
  --disk xvde,null=1M,backend=freebsd -- sh -c 'for disk in vbd/1/51728 qdisk/1/51744 vbd/1/51760 vbd/1/51776
  do printf %s "$(xenstore-read "/local/domain/0/backend/$disk/state")"; done')"
expect "no messages at the end, even with disks" "" "$("$sim" run --disk xvdb,memory=1M -- true 2>&1)"
expect_line "the error for a missing file names it" 'disk xvdb: open /nowhere: no such file' \
  "$("$sim" run --disk xvdb,file=/nowhere -- true 2>&1)"
expect "no other files are left behind" report "$(ls "$dir")"

# A relative path is resolved against the directory in which the host was started.
truncate -s 1M "$dir/image"
(cd "$dir" && "$sim" start --dir "$host" --disk xvdb,memory=8M,volatile --disk xvdc,file=image)
in_backend() { in_domain 0 xenstore-read "backend/vbd/1/51728/$1"; }
expect "a relative file is found" connected "$(in_domain 0 xenstore-read backend/vbd/1/51744/hotplug-status)"
"$sim" disk --dir "$host" resize xvdb 16M
expect "disk resize returns after the resize" 16777216 "$(in_backend xenpv/applied-size)"
expect "disk resize to a partial sector" 2 "$(status_of "$sim" disk --dir "$host" resize xvdb 1000)"
"$sim" disk --dir "$host" fault xvdb delay=5ms:1/2 error=3
expect "disk fault returns when the fault is active" 'delay=5ms:1/2 error=3' "$(in_backend xenpv/applied-fault)"
expect "disk fault with an unknown fault" 2 "$(status_of "$sim" disk --dir "$host" fault xvdb gremlins)"
"$sim" disk --dir "$host" fault xvdb none
"$sim" disk --dir "$host" restart xvdb
"$sim" disk --dir "$host" power-cut xvdb --seed 7
expect "the backend is in InitWait again" 2 "$(in_backend state)"
expect_line "an unknown disk" 'disk xvdd of guest-1.*no such disk' \
  "$("$sim" disk --dir "$host" restart xvdd 2>&1 || true)"
"$sim" disk --dir "$host" unplug xvdb
expect "disk unplug removes both directories" 1 "$(status_of in_domain 1 xenstore-exists device/vbd/51728)"
created=$("$sim" domain create --dir "$host")
state="/local/domain/0/backend/vbd/$created/51728/state"
mkfifo "$dir/events"
# Do not use in_domain: killing its subshell would leave xenstore-watch running.
"$sim" exec --dir "$host" --domain 0 -- xenstore-watch "$state" >"$dir/events" &
exec 3<"$dir/events"
while read -r -t 20 _ <&3; do
  now=$(in_domain 0 xenstore-read "$state")
  [ "$now" = 2 ] && break
done
kill $!
expect "the disks of a domain created later are served" 2 "$now"
"$sim" stop --dir "$host"

# External backends. This one only announces its disk.
stub='xenstore-write $XENPV_SIM_BACKEND/state 2; exec sleep 1000'
without_qemu() {
  XENPV_SIM_QEMU=/nowhere "$sim" run --disk "xvdb,file=$dir/image,backend=qemu-real" -- true
}
expect "without QEMU, its disks are not possible" 77 "$(status_of without_qemu)"
expect_line "the error names the package" 'install .*qemu-system-xen' "$(without_qemu 2>&1 || true)"
expect "QEMU does not serve memory" 2 "$(status_of "$sim" run --disk xvdb,memory=1M,backend=qemu-real -- true)"
expect_line "QEMU and its personality cannot serve the same guest" 'disk xvdb: .*every disk of the type qdisk' \
  "$("$sim" run --disk xvdb,memory=1M,backend=qemu --disk "xvdc,file=$dir/image,backend=qemu-real" -- true 2>&1 || true)"
expect "an external backend is in InitWait before the command runs" 2 "$("$sim" run \
  --disk "xvdb,backend=exec:$stub" -- xenstore-read /local/domain/0/backend/vbd/1/51728/state)"
expect "external and own backends serve the same guest" 222 "$("$sim" run --disk "xvdb,backend=exec:$stub" \
  --disk xvdc,memory=1M --disk "xvdd,type=vbd3,backend=exec:$stub" -- sh -c 'for disk in vbd/1/51728 vbd/1/51744 vbd3/1/51760
  do printf %s "$(xenstore-read "/local/domain/0/backend/$disk/state")"; done')"
failing() { "$sim" run --disk 'xvdb,backend=exec:echo no such thing; exit 3' -- true; }
expect "a backend that fails" 1 "$(status_of failing)"
failed=$(failing 2>&1 || true)
expect_line "its exit status is reported" 'backend exec of xvdb of domain 1: it ended with exit status 3' "$failed"
expect_line "its output is reported" '^  no such thing$' "$failed"

"$sim" start --dir "$host" --disk "xvdb,backend=exec:$stub"
backend_field() {
  "$sim" status --dir "$host" | python3 -c 'import json, sys
print(json.load(sys.stdin)["backends"][0][sys.argv[1]])' "$1"
}
first=$(backend_field process)
"$sim" disk --dir "$host" restart xvdb
second=$(backend_field process)
expect "disk restart kills an external backend" 1 "$(status_of kill -0 "$first")"
expect "disk restart starts it again" 0 "$(status_of kill -0 "$second")"
expect "status counts the restart" 1 "$(backend_field restarts)"
expect "it is in InitWait again" 2 "$(in_backend state)"
expect "its log is in the host's directory" 2 "$(grep -c '^xenpv-sim: start ' "$host/backend-1-xvdb.log")"
expect_line "it has no faults" 'backend=exec does not support it' "$("$sim" disk --dir "$host" fault xvdb error=3 2>&1 || true)"
expect_line "it cannot be resized" 'backend=exec does not support it' "$("$sim" disk --dir "$host" resize xvdb 2M 2>&1 || true)"
"$sim" stop --dir "$host"
has_ended() { ! kill -0 "$1" 2>/dev/null; }
wait_for "the backend ends with its host" has_ended "$second"

"$sim" start --dir "$host"
expect_line "a directory in use is refused" 'a host is running there' "$("$sim" start --dir "$host" 2>&1 || true)"
mkdir "$dir/full" "$dir/full/own"
expect_line "a directory with files is refused" 'not empty' "$("$sim" start --dir "$dir/full" 2>&1 || true)"
expect "a domain's environment" 1 "$(in_domain 1 sh -c 'xenstore-read domid')"
expect_line "an unknown domain" 'no such domain' "$(in_domain 9 true 2>&1 || true)"
expect "save-restore prints the new domain ID" 2 "$("$sim" domain save-restore --dir "$host" 1)"
expect "--same-number keeps the domain ID" 2 "$("$sim" domain save-restore --dir "$host" --same-number 2)"
"$sim" domain destroy --dir "$host" 2
expect "status lists the remaining domains" '[0]' "$("$sim" status --dir "$host" | python3 -c "
import json, sys
print([d['domid'] for d in json.load(sys.stdin)['domains']])")"
"$sim" stop --dir "$host"
expect_line "a host that is not running" 'is it running' "$("$sim" status --dir "$host" 2>&1 || true)"
passed
