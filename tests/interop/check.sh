# Sourced by the interop tests. Sets `sim` to the simulator's path and `dir` to a temporary
# directory. A failed check prints the expected and the actual text.
set -euo pipefail
# Keep __pycache__ out of the source tree.
export PYTHONDONTWRITEBYTECODE=1
sim=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/xenpv-interop-XXXXXX")
host="$dir/host"
checks=0
# Stops the host and all background processes, even after a failed check.
trap 'status=$?; jobs -p | xargs -r kill -9 2>/dev/null || true; "$sim" stop --dir "$host" 2>/dev/null || true
  rm -rf "$dir"; exit $status' EXIT

requires() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
  done
}

# expect WHAT EXPECTED ACTUAL: fails unless both texts are equal
expect() {
  checks=$((checks + 1))
  [ "$2" = "$3" ] && return
  printf 'FAILED: %s\nexpected:\n%s\nactual:\n%s\n' "$1" "$2" "$3"
  exit 1
}

# expect_line WHAT EXTENDED_REGEX TEXT: fails unless at least one line of TEXT matches
expect_line() {
  checks=$((checks + 1))
  grep -Eq -- "$2" <<<"$3" && return
  printf 'FAILED: %s\nno line matches: %s\nin:\n%s\n' "$1" "$2" "$3"
  exit 1
}

# wait_for WHAT CMD...: waits until CMD succeeds. The limit is generous: only a hang exceeds it.
wait_for() {
  local what=$1 i
  shift
  for ((i = 0; i < 600; i++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.05
  done
  printf 'FAILED: timed out after 30 s: %s\n' "$what"
  cat "$dir"/log "$dir"/*.log 2>/dev/null || true
  exit 1
}

# status_of CMD...: prints the exit status of CMD and discards its output
status_of() {
  local status=0
  "$@" >/dev/null 2>&1 || status=$?
  echo "$status"
}

# is_sanitized PROGRAM: true for a sanitizer build, whose time and memory usage is meaningless
is_sanitized() {
  # GCC's runtime is a shared library; clang's is linked statically.
  case $(ldd "$1") in
    *libasan* | *libtsan*) return 0 ;;
  esac
  grep -q -E '__(asan|tsan)_init' "$1"
}

in_domain() {
  local domain=$1
  shift
  "$sim" exec --dir "$host" --domain "$domain" -- "$@"
}

passed() { echo "$checks checks passed"; }
