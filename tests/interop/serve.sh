# Sourced after check.sh by tests of long-running servers. Needs $disk, the path of xenpv-disk. Sets
# $root to the root directory of domain 1.
root="$host/dom1/root"

in_guest() { in_domain 1 "$@"; }

# serve DISK ARGUMENT...: starts a server in domain 1 and waits until it is ready. Sets $server to
# the server's process ID; stdout goes to $dir/out and stderr to $dir/log.
serve() {
  : >"$dir/out"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "$* is served" grep -q '^nbd-client' "$dir/out"
}

# expect_end WHAT STATUS: waits until the server exits and checks its status
expect_end() {
  local status=0
  wait "$server" || status=$?
  expect "$1" "$2" "$status"
}

state_of() { in_guest xenstore-read "device/vbd/$1/state"; }
