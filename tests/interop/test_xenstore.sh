#!/usr/bin/env bash
# Runs all test cases and the random test of Xen's test-xenstore in domain 0.
. "$(dirname "$0")/check.sh"
program=$(command -v test-xenstore || ls /usr/lib/xen-*/bin/test-xenstore 2>/dev/null | head -n 1)
[ -n "$program" ] || { echo "skipped: test-xenstore is not installed (package xen-utils-4.17 or -4.20)"; exit 77; }

"$sim" start --dir "$host"
output=$(in_domain 0 "$program" -i 20)
for name in 'read 1' 'read 2000' 'write 1' 'write 2000' dir 'rm node' 'rm dir' 'ta empty' \
  'ta empty x' 'ta rmw' 'ta rmw x' 'ta err'; do
  expect_line "$name" "^$name *: *avg: *[0-9]+ ns " "$output"
done
expect "no test failed" "" "$(grep -i fail <<<"$output" || true)"
expect "two seconds of random tests" 0 "$(status_of in_domain 0 "$program" -r 2)"
# test-xenstore writes directly to its home directory. Real Xen also forbids this for guests.
expect_line "access from a guest is refused" 'failed \(ret = 13' "$(in_domain 1 "$program" 2>&1 || true)"
passed
