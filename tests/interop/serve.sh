# Sourced behind check.sh by tests of servers that stay: $disk is xenpv-disk, $root what domain 1 takes for /.
root="$host/dom1/root"

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
