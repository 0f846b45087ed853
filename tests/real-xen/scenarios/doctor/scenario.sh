# xenpv-doctor in all types of domains: the rows are correct in a healthy domain and change after
# injected problems. In the places *-faults, a network backend refuses the connection, the grant table
# is full, and all event channels are on CPU 0. Expected values are in `expect`, or are determined here without xenpv-doctor.
programs=(xenpv-doctor xenpv-disk xenpv-custodian xenpv-evtchn)
places='dom0 pv pvh hvm hvm-intx pv-faults pvh-faults'
short_places=pv
limit=240
tsc_mode=default
grant_frames=4

dom0_before() {
  kernel_parameters= xl_options=
  if [[ $place == hvm-intx ]]; then kernel_parameters=xen_no_vector_callback; fi
  disk xvdb /dev/ram1 w
  if [[ $place == *-faults ]]; then
    modprobe xen-netback
    xl_options="max_grant_frames=$grant_frames
vif=['mac=00:16:3e:00:00:01,script=/mnt/run/scenarios/doctor/vif-script']"
  fi
}

# Handles the guest's requests to domain 0.
toolstack() {
  case $1 in
    # The command in the remedy for a full grant table.
    grants) "$xen_directory/bin/xen-diag" gnttab_query_size "$guest" ;;
    refuse) xenstore-write "/local/domain/0/backend/vif/$guest/0/state" 5 ;;
    *) return 2 ;;
  esac
}

dom0_during() {
  [[ $place != *-faults ]] || answer toolstack
}

# verdict FILE ROW: prints the row's verdict.
verdict() { awk -F '"' -v row="$2" '/"id":/ { id = $4 } /"verdict":/ && id == row { print $4; exit }' "$1"; }

# worst FILE: prints the expected exit status, which the worst row determines.
worst() { awk -F '"' '/"verdict":/ { seen[$4] = 1 } END { print "FAIL" in seen ? 2 : "WARN" in seen ? 1 : 0 }' "$1"; }

# examine NAME [OPTION...]: runs xenpv-doctor, writes NAME.json and checks the exit status.
examine() {
  local name=$1 status=0
  shift
  xenpv-doctor --json "$@" >"$results/$name.json" 2>"$results/$name.err" || status=$?
  same "$name.status" "$status" "$(worst "$results/$name.json")"
}

# same_verdicts ONE OTHER [VERDICT]: compares the verdicts of all rows except `steal`. In OTHER, any
# row may also have VERDICT.
same_verdicts() {
  awk -F '"' -v also="${3:-}" '/"id":/ { id = $4 }
    /"verdict":/ && id != "steal" {
      if (FNR == NR) { one[id] = $4; next }
      rows++
      if ($4 != one[id] && $4 != also) { print id, one[id], $4; bad = 1 }
    }
    END { print rows, "rows"; exit bad || rows < 10 }' "$1" "$2"
}

healthy() {
  local row verdict
  examine healthy
  xenpv-doctor -v >"$results/healthy.txt" 2>/dev/null
  value rows "$(grep -c '"id":' "$results/healthy.json")"
  awk -F '"' '/"id":/ { id = $4 } /"verdict":/ { print id, $4 }' "$results/healthy.json" |
    while read -r row verdict; do value "row.$row" "$verdict"; done
  [[ $place == hvm-intx ]] || check quotes.timer grep -q "timer0 [0-9]*, timer1 [0-9]*" "$results/healthy.txt"
  # In an emulated host, a guest may have been charged more stolen time than it has existed.
  check quotes.steal grep -Eq "steal counter is wrong|/proc/stat steal during [0-9.]+ s, in ticks of 10 ms: cpu0 [0-9]+, cpu1 [0-9]+" "$results/healthy.txt"
}

# Prints the number of shared pages, which it extracts from the row's summary.
shared_pages() { sed -n 's/.*"summary": "\([0-9]*\) of [0-9]* pages are shared.*/\1/p' "$1"; }

gntalloc_used_up() {
  local limit=/sys/module/xen_gntalloc/parameters/limit before server pages
  before=$(cat "$limit")
  xenpv-disk serve xvdb --take --unix /tmp/xvdb.sock >"$results/serve.log" 2>&1 &
  server=$!
  check gntalloc.serves awaits 60 grep -q nbd-client "$results/serve.log"
  examine serving
  value gntalloc.serving "$(verdict "$results/serving.json" gntalloc)"
  pages=$(shared_pages "$results/serving.json")
  value gntalloc.pages "$pages"
  echo "$pages" >"$limit"
  examine full
  value gntalloc.full "$(verdict "$results/full.json" gntalloc)"
  check gntalloc.message grep -q "the limit of $pages pages is reached" "$results/full.json"
  echo "$before" >"$limit"
  kill "$server"
  wait "$server"
  examine free
  value gntalloc.free "$(verdict "$results/free.json" gntalloc)"
}

# pinned [BEFORE]: moves all movable event channels to CPU 0; BEFORE is the report to compare with.
pinned() {
  local file before=${1:-healthy}
  for file in /proc/irq/*/smp_affinity_list; do echo 0 >"$file"; done 2>/dev/null
  examine pinned
  value pinned.spread "$(verdict "$results/pinned.json" spread)"
  check pinned.message grep -q 'movable event channels are restricted to CPU 0' "$results/pinned.json"
  local status=0
  xenpv-doctor compare "$results/$before.json" "$results/pinned.json" >"$results/pinned.compare" 2>&1 || status=$?
  value pinned.compare.status "$status"
  check pinned.compare grep -Eq '^worse +row spread ' "$results/pinned.compare"
  for file in /proc/irq/*/smp_affinity_list; do echo 0-1 >"$file"; done 2>/dev/null
}

clocksource_switched() {
  local file=/sys/devices/system/clocksource/clocksource0/current_clocksource
  echo acpi_pm >"$file"
  examine acpi_pm
  value switched.clocksource "$(verdict "$results/acpi_pm.json" clocksource)"
  value switched.clock-read "$(verdict "$results/acpi_pm.json" clock-read)"
  # Apply the remedy that the row suggests.
  echo xen >"$file"
  examine xen_again
  value switched.back "$(verdict "$results/xen_again.json" clocksource)"
}

measured() {
  xenpv-doctor --measure 10s --html "$results/page.html" --prometheus "$results/doctor.prom" --json \
    >"$results/measured.json" 2>"$results/measured.err"
  # Emulation causes lost periods, which are only a warning, but the times must be verified.
  check measured.timers grep -q '"value": "verified on all 2 CPUs"' "$results/measured.json"
  check measured.pairs grep -q '"value": "verified on all 4 pairs"' "$results/measured.json"
  check measured.page grep -q '</html>' "$results/page.html"
  check measured.metrics grep -q '^xenpv_timer_latency_seconds_count{cpu="1"}' "$results/doctor.prom"
}

# Without root privileges, each verdict is UNKNOWN or the same as with root privileges.
unprivileged() {
  setpriv --reuid 65534 --regid 65534 --clear-groups xenpv-doctor --json >"$results/nobody.json" 2>/dev/null
  check unprivileged same_verdicts "$results/healthy.json" "$results/nobody.json" UNKNOWN
  value unprivileged.gntalloc "$(verdict "$results/nobody.json" gntalloc)"
}

captured() {
  mkdir -p /tmp/captured
  xenpv-evtchn capture - 2>/dev/null | tar -x -C /tmp/captured
  xenpv-evtchn capture "$results/capture.tar" 2>/dev/null
  xenpv-doctor --json --root /tmp/captured/xenpv-capture >"$results/captured.json" 2>/dev/null
  check captured same_verdicts "$results/healthy.json" "$results/captured.json"
}

# A network interface whose backend first does not connect, and then refuses the connection.
vif_refused() {
  check vif.waits awaits 60 vif_has_state Connected
  examine vif_waits
  value vif_waits.row "$(verdict "$results/vif_waits.json" device-vif-0)"
  check vif_refused.dom0 ask refuse
  check vif_refused.closed awaits 60 vif_has_state Closed
  examine vif_refused
  value vif_refused.row "$(verdict "$results/vif_refused.json" device-vif-0)"
  check vif_refused.summary grep -Eq \
    '"summary": "vif-0 is Closed, its backend is Clos(ing|ed): the network interface does not work"' "$results/vif_refused.json"
  check vif_refused.remedy grep -q 'messages about vif-0, and check that its backend domain runs' "$results/vif_refused.json"
}

vif_has_state() { grep -qx "$1" /sys/bus/xen/devices/vif-0/state; }

# A grant table of four pages of 512 entries, all of which are in use.
grant_table_full() {
  local filler
  value grants.row_before "$(verdict "$results/vif_refused.json" grant-table)"
  echo 100000 >/sys/module/xen_gntalloc/parameters/limit
  /mnt/run/scenarios/doctor/fill_grant_table.pl >"$results/grants.filled" 2>&1 &
  filler=$!
  check grants.filled awaits 60 grep -q 'No space left on device' "$results/grants.filled"
  value grants.pages "$(cut -d ' ' -f 1 "$results/grants.filled")"
  examine grants
  value grants.row "$(verdict "$results/grants.json" grant-table)"
  check grants.summary grep -q 'the grant table reached its limit' "$results/grants.json"
  check grants.remedy grep -q 'raise max_grant_frames= of the guest' "$results/grants.json"
  check grants.evidence grep -q "max_grant_frames reached cur=$grant_frames extra=1 limit=$grant_frames" "$results/grants.json"
  # The hypervisor confirms that all pages are in use.
  check grants.query grep -q "nr_frames=$grant_frames, max_nr_frames=$grant_frames" <(ask grants | tee "$results/grants.query")
  kill "$filler"
  wait "$filler"
}

faults() {
  examine start
  vif_refused
  grant_table_full
  pinned start
  ask over
}

main() {
  # Otherwise, text is wrapped to the console.
  export COLUMNS=1000
  modprobe -a xen-evtchn xen-gntalloc xen-gntdev xen-privcmd
  if [[ $place == *-faults ]]; then
    modprobe xen-netfront
    faults
    return
  fi
  healthy
  echo "$place: healthy after $SECONDS s"
  unprivileged
  captured
  if [[ $place != hvm-intx ]]; then
    measured
    echo "$place: measured after $SECONDS s"
    pinned
  fi
  if [[ $place == hvm ]]; then clocksource_switched; fi
  case $place in pv | pvh | hvm) gntalloc_used_up ;; esac
  echo "$place: finished after $SECONDS s"
}
