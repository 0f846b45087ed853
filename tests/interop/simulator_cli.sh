#!/usr/bin/env bash
# xenpv-sim's own manners: statuses, clean-up, messages.
. "$(dirname "$0")/check.sh"
export TMPDIR=$dir

expect "the command's status is ours" 7 "$(status_of "$sim" run -- sh -c 'exit 7')"
expect "death by a signal, as a shell says it" 137 "$(status_of "$sim" run -- sh -c 'kill -9 $$')"
expect "a command that is not there" 127 "$(status_of "$sim" run -- no-such-command)"
expect "standard input reaches the command" hello "$(echo hello | "$sim" run -- cat)"
expect "nothing stays behind" "" "$(ls "$dir")"

# A process left in the background ends with the host.
"$sim" run -- sh -c "sleep 1000 & echo \$! >'$dir/pid'"
expect "background processes are gone" 1 "$(status_of kill -0 "$(cat "$dir/pid")")"
rm "$dir/pid"

"$sim" run --report "$dir/report" -- true
expect "the report has no kernel BUG" '[]' "$(python3 -c "
import json, sys
print(json.load(open('$dir/report'))['kernel_bugs'])")"

expect "demo" 0 "$(status_of "$sim" demo --count 200)"
expect_line "demo prints one line of latencies" \
  '^ping: domain 1 <-> domain 0: 200 round trips .* p50 [0-9.]+ [mun]?s, p99 ' "$("$sim" demo --count 200)"

expect "bad usage" 2 "$(status_of "$sim" run --no-such-option -- true)"
expect "a command is required" 2 "$(status_of "$sim" run)"
expect_line "a wrong disk is named" "disk|xvdb" "$("$sim" run --disk xvdb -- true 2>&1 || true)"
expect_line "a wrong fault is named with what is known" "fault 'gremlins'.*event-lost" \
  "$("$sim" run --fault gremlins -- true 2>&1 || true)"

"$sim" start --dir "$host"
expect_line "a folder in use is refused" 'not empty' "$("$sim" start --dir "$host" 2>&1 || true)"
expect "a domain's environment" 1 "$(in_domain 1 sh -c 'xenstore-read domid')"
expect_line "an unknown domain" 'no such domain' "$(in_domain 9 true 2>&1 || true)"
expect "save-restore prints the new number" 2 "$("$sim" domain save-restore --dir "$host" 1)"
expect "and keeps it when asked" 2 "$("$sim" domain save-restore --dir "$host" --same-number 2)"
"$sim" domain destroy --dir "$host" 2
expect "status is JSON with the domains left" '[0]' "$("$sim" status --dir "$host" | python3 -c "
import json, sys
print([d['domid'] for d in json.load(sys.stdin)['domains']])")"
"$sim" stop --dir "$host"
expect_line "a host that is not there" 'is it running' "$("$sim" status --dir "$host" 2>&1 || true)"
passed
