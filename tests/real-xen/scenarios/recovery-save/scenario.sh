# While a verifying workload runs on a mounted file system, the guest is saved and restored ten
# times, checkpointed and, if possible, migrated to localhost. Clients see only pauses.
programs=(xenpv-disk xenpv-custodian xenpv-doctor)
short_places=none
limit=400
tsc_mode=default
memory=320

saves=10
[[ -z ${XENPV_INSIDE:-} ]] || source "$XENPV_INSIDE/recovery.sh"

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  disk xvdb /dev/loop0 w
  disk xvdc /dev/ram1 w
}

save_and_restore() { # NUMBER
  local start=$SECONDS
  xl save "$place" /tmp/saved || return 1
  echo "saved in $((SECONDS - start)) s"
  start=$SECONDS
  xl restore /tmp/saved || return 1
  echo "restored in $((SECONDS - start)) s"
  rm -f /tmp/saved
  guest=$(xl domid "$place")
}

migrate() {
  local start=$SECONDS
  # With an empty ssh command, xl executes the "host" argument to receive the guest.
  xl migrate -s '' "$place" 'xl migrate-receive' || return 1
  echo "migrated in $((SECONDS - start)) s"
  guest=$(xl domid "$place")
}

dom0_during() {
  local number
  hear ready
  for ((number = 1; number <= saves; number++)); do
    save_and_restore "$number" || fail "save-$number" "see dom0-during.log for xl's messages"
    hear "went-on-$number"
  done
  check checkpoint xl save -c "$place" /tmp/saved
  rm -f /tmp/saved
  tell checkpointed yes
  hear went-on
  if [[ $place == pv ]]; then
    skip migrate "migrating a PV guest needs shadow page tables, which Debian's hypervisor lacks"
  else
    check migrate migrate
  fi
  hear migrated
  same sum "$(hear sum)" "$(sum /dev/loop0 128)"
  tell sum-seen yes
  hear stopped
  save_and_restore unnoticed || fail unnoticed "see dom0-during.log for xl's messages"
  tell restored yes
}

# A cancelled suspend must not cause a reconnect.
cancelled() {
  local before
  hear checkpointed >/dev/null
  before=$(moved)
  check checkpoint.goes_on awaits 60 has_moved_more "$before"
  value checkpoint.reconnects "$(recovery_figure reconnects)"
}

# A server is killed before it detects a resume. The server's custodian must not close the old
# handles, because closing them would trigger the kernel BUG. A stopped process stays stopped across
# a save.
unnoticed() {
  local other
  xenpv-disk serve xvdc --take >"$results/unnoticed.out" 2>"$results/unnoticed.log" &
  other=$!
  check unnoticed.ready awaits 30 grep -q nbd-client "$results/unnoticed.out"
  kill -STOP "$other"
  tell stopped yes
  hear restored >/dev/null
  kill -KILL "$other"
  wait "$other"
  # The next server first waits for the custodian's cleanup.
  xenpv-disk serve xvdc --take >"$results/next.out" 2>"$results/next.log" &
  other=$!
  check unnoticed.next awaits 60 grep -q nbd-client "$results/next.out"
  kill -TERM "$other"
  check unnoticed.end wait "$other"
  value custodians "$(pgrep -c xenpv-custodian)"
}

# examined TIMES: checks that xenpv-doctor reports TIMES restores.
examined() {
  xenpv-doctor --json >"$results/doctor.json" 2>"$results/doctor.err"
  check doctor.migration grep -Eq "\"migrated or restored $1 times, and [0-9]+ processes have /dev/xen/evtchn open\"" \
    "$results/doctor.json"
}

main() {
  local number seen times=$saves
  serve_and_mount
  ask_again
  start_load
  tell ready yes
  for ((number = 1; number <= saves; number++)); do
    goes_on "save-$number" "$number"
    tell "went-on-$number" yes
  done
  cancelled
  tell went-on yes
  if [[ $place != pv ]]; then goes_on migrate $((++times)); fi
  tell migrated yes
  examined "$times"
  end_load
  kill "$asking"
  value failed_freezes "$(wc -l <"$results/failed-freezes")"
  tell_pauses
  value replayed "$(recovery_figure replayed_requests)"
  files_are_whole /dev/nbd0
  seen=$(sum /dev/nbd0 128)
  stop_server
  tell sum "$seen"
  hear sum-seen >/dev/null
  unnoticed
  tell_complaints
}
