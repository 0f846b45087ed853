# xenpv-doctor in all types of domains: the rows are correct in a healthy domain and change after
# injected problems. Expected values are in `expect`, or are determined here without xenpv-doctor.
programs=(xenpv-doctor xenpv-disk xenpv-evtchn)
places='dom0 pv pvh hvm hvm-intx'
short_places=hvm
limit=240

dom0_before() {
  kernel_parameters=
  if [[ $place == hvm-intx ]]; then kernel_parameters=xen_no_vector_callback; fi
  disk xvdb /dev/ram1 w
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
  check quotes.steal grep -Eq "/proc/stat steal, in ticks of 10 ms: cpu0 [0-9]+, cpu1 [0-9]+" "$results/healthy.txt"
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

pinned() {
  local file
  for file in /proc/irq/*/smp_affinity_list; do echo 0 >"$file"; done 2>/dev/null
  examine pinned
  value pinned.spread "$(verdict "$results/pinned.json" spread)"
  check pinned.message grep -q 'movable event channels are restricted to CPU 0' "$results/pinned.json"
  local status=0
  xenpv-doctor compare "$results/healthy.json" "$results/pinned.json" >"$results/pinned.compare" 2>&1 || status=$?
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
  check measured.metrics grep -q '^xen_timer_latency_seconds_count{cpu="1"}' "$results/doctor.prom"
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

main() {
  modprobe -a xen-evtchn xen-gntalloc xen-gntdev xen-privcmd
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
