# Sourced after check.sh by tests of long-running servers. Needs $disk, the xenpv-disk program; sets
# $root, the root directory that domain 1 sees.
root="$host/dom1/root"

in_guest() { in_domain 1 "$@"; }

# serve DISK ARGUMENT...: starts a server in domain 1 and waits until it is ready. Its process is
# $server, its output is in $dir/out and $dir/log.
serve() {
  : >"$dir/out"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "$* is served" grep -q '^nbd-client' "$dir/out"
}

# expect_end WHAT STATUS: waits for the server's exit and checks its status
expect_end() {
  local status=0
  wait "$server" || status=$?
  expect "$1" "$2" "$status"
}

state_of() { in_guest xenstore-read "device/vbd/$1/state"; }
