# shellcheck shell=bash
# Functions for the tests of the multi-call program. Sourced.

work=$(mktemp -d "${TMPDIR:-/tmp}/static-XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=0

failed() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# gives STATUS PATTERN COMMAND...: expects this exit status, and a match in the output.
gives() {
  local status=$1 pattern=$2 actual=0 output
  shift 2
  output=$("$@" 2>&1) || actual=$?
  [[ $actual -eq $status ]] || failed "$*: exit status $actual, expected $status: $output"
  grep -Eq -- "$pattern" <<<"$output" || failed "$*: no '$pattern' in: $output"
}

finish() {
  [[ $failures -eq 0 ]] || exit 1
  echo "passed"
}
