#!/usr/bin/env bash
# resume.sh XENPV_SIM XENPV_EVTCHN: programs that use event channels must exit with a message when
# their guest is saved and restored, and must not trigger the kernel BUG.
source "$(dirname "$0")/check.sh"
evtchn=$2
"$sim" start --dir "$host"
domain=1

status_line() { "$sim" status --dir "$host" | tr -d '\n '; }
channels() { status_line | grep -o '"user_event_channels":[0-9]*' | grep -o '[0-9]*$' | paste -s -d +; }
has_channels() { [ "$(($(channels)))" -ge "$1" ]; }
save_and_restore() { domain=$("$sim" domain save-restore --dir "$host" "$domain" --frozen 50ms); }
expect_no_bug() {
  expect "no BUG: $1" '"kernel_bugs":[]' "$(status_line | grep -Eo '"kernel_bugs":\[[^]]*\]')"
}

# expect_end WHAT LOG: waits until $pinger is running, saves and restores its guest, and expects
# $pinger to exit with a message
expect_end() {
  local status=0
  wait_for "$1 pings" has_channels 2
  save_and_restore
  wait "$pinger" || status=$?
  expect "$1 ends" 1 "$status"
  expect_line "$1 reports the reason" 'the guest was saved and restored' "$(cat "$2")"
}

# A resume invalidates a measurement.
in_domain "$domain" "$evtchn" ping --from 0 --to 0 --count 100000000 >"$dir/evtchn.log" 2>&1 &
pinger=$!
expect_end "xenpv-evtchn ping" "$dir/evtchn.log"
expect_no_bug "xenpv-evtchn ping"

# A resume also breaks xenpv-sim ping, because the peer still uses the old domain ID.
in_domain 0 "$sim" ping --serve --peer "$domain" >"$dir/server.log" 2>&1 &
server=$!
in_domain "$domain" "$sim" ping --count 100000000 >"$dir/ping.log" 2>&1 &
pinger=$!
expect_end "xenpv-sim ping" "$dir/ping.log"
kill "$server"
expect_no_bug "xenpv-sim ping"

passed
