#!/usr/bin/env bash
# What programs with event channels do when their guest is saved and restored: they end with words, and
# the kernel's BUG is never met. resume.sh XENPV_SIM XENPV_EVTCHN
source "$(dirname "$0")/check.sh"
evtchn=$2
"$sim" start --dir "$host"
domain=1

wait_for() { # WHAT CMD...
  local what=$1 i
  shift
  for ((i = 0; i < 600; i++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.05
  done
  printf 'FAILED: waited 30 s: %s\n' "$what"
  cat "$dir"/*.log
  exit 1
}

status_line() { "$sim" status --dir "$host" | tr -d '\n '; }
channels() { status_line | grep -o '"user_event_channels":[0-9]*' | grep -o '[0-9]*$' | paste -s -d +; }
has_channels() { [ "$(($(channels)))" -ge "$1" ]; }
save_and_restore() { domain=$("$sim" domain save-restore --dir "$host" "$domain" --frozen 50ms); }
expect_no_bug() {
  expect "no BUG: $1" '"kernel_bugs":[]' "$(status_line | grep -Eo '"kernel_bugs":\[[^]]*\]')"
}

# A measurement is void.
in_domain "$domain" "$evtchn" ping --from 0 --to 0 --count 100000000 >"$dir/evtchn.log" 2>&1 &
pinger=$!
wait_for "it pings" has_channels 2
save_and_restore
status=0
wait "$pinger" || status=$?
expect "xenpv-evtchn ping ends" 1 "$status"
expect_line "and says why" 'the guest was saved and restored' "$(cat "$dir/evtchn.log")"
expect_no_bug "xenpv-evtchn ping"

# So is an exchange with a domain that never heard of the new one.
in_domain 0 "$sim" ping --serve --peer "$domain" >"$dir/server.log" 2>&1 &
server=$!
in_domain "$domain" "$sim" ping --count 100000000 >"$dir/ping.log" 2>&1 &
pinger=$!
wait_for "they ping" has_channels 2
save_and_restore
status=0
wait "$pinger" || status=$?
expect "xenpv-sim ping ends" 1 "$status"
expect_line "and says why, too" 'the guest was saved and restored' "$(cat "$dir/ping.log")"
kill "$server"
expect_no_bug "xenpv-sim ping"

passed
