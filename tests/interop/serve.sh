# Sourced behind check.sh by tests of servers that stay: $disk is xenpv-disk, $root what domain 1 takes for /.
root="$host/dom1/root"

# wait_for WHAT CMD...: until CMD succeeds; a limit that only a hang meets
wait_for() {
  local what=$1 i
  shift
  for ((i = 0; i < 600; i++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.05
  done
  printf 'FAILED: waited 30 s: %s\n' "$what"
  [ -e "$dir/log" ] && cat "$dir/log"
  exit 1
}

in_guest() { in_domain 1 "$@"; }

# serve DISK WORDS...: starts a server in domain 1; it is ready on return. Its number is $server, what it
# printed is in $dir/out and $dir/log.
serve() {
  : >"$dir/out"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "$* is served" grep -q '^nbd-client' "$dir/out"
}

# expect_end WHAT STATUS: the server ends by itself, with that status
expect_end() {
  local status=0
  wait "$server" || status=$?
  expect "$1" "$2" "$status"
}

state_of() { in_guest xenstore-read "device/vbd/$1/state"; }
