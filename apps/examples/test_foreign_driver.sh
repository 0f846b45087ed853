#!/bin/sh
# test_foreign_driver.sh DRIVER: tests a PV driver in the simulator, without Xen and without root.
# Checks the published values, and that the driver reports an error when the grant table is full.
set -eu
driver=$1

fail() {
  echo "test_foreign_driver: $*" >&2
  exit 1
}

# The driver prints "published grant G and port P"; xenstore must contain the same numbers.
# shellcheck disable=SC2016  # expanded by the inner shell
output=$(xenpv-sim run -- sh -c '"$0" && xenstore-read data/ring-ref data/event-channel' "$driver") ||
  fail "the driver failed: $output"
# shellcheck disable=SC2086  # split into words
set -- $output
[ "$#" = 8 ] && [ "$3" = "$7" ] && [ "$6" = "$8" ] || fail "unexpected output: $output"

if output=$(xenpv-sim run --grant-limit 0 -- "$driver" 2>&1); then
  fail "the driver did not fail although the grant table is full"
fi
case $output in
  *"share a page"*) echo "ok" ;;
  *) fail "unexpected error: $output" ;;
esac
