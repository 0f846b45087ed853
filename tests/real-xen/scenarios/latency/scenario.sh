# xenpv-timer and xenpv-ipi: verified counts for all vCPUs and pairs, injected delays of known
# length, and a comparison with cyclictest. The PVH guests also query the hypervisor, because they
# are allowed to make hypercalls.
programs=(xenpv-timer xenpv-ipi)
places='pv pvh pv4 pvh4'
short_places=none
limit=400
tsc_mode=default

dom0_before() {
  kernel_parameters=
  if [[ $place == pvh* ]]; then kernel_parameters=xen_privcmd.unrestricted=1; fi
}

# Pauses all vCPUs of the guest for half a second. Prints the pause's minimum and maximum length in
# ms.
pause() {
  local before stopped going after
  before=$(date +%s%N)
  xl pause "$guest"
  stopped=$(date +%s%N)
  sleep 0.5
  going=$(date +%s%N)
  xl unpause "$guest"
  after=$(date +%s%N)
  echo "$(((going - stopped) / 1000000)) $(((after - before) / 1000000))"
}

dom0_during() { answer pause; }

# within LOW HIGH NUMBER...: true if all numbers are between LOW and HIGH.
within() {
  local low=$1 high=$2
  shift 2
  echo "$low to $high: $*"
  printf '%s\n' "$@" | awk -v low="$low" -v high="$high" '$1 < low || $1 > high { bad++ } END { exit bad || !NR }'
}

# json NAME COMMAND...: passes if the command succeeds; writes the output to NAME.json and NAME.err.
json() {
  local name=$1 status=0
  shift
  "$@" --json >"$results/$name.json" 2>"$results/$name.err" || status=$?
  if [[ $status -eq 0 ]]; then pass "$name"; else fail "$name" "exit status $status: $(tail -n 1 "$results/$name.err")"; fi
}

# read_json NAME FILTER: applies a jq filter to NAME.json.
read_json() { jq -r "$2" "$results/$1.json"; }

# timer NAME OPTION...: runs xenpv-timer and reports the number of verified CPUs.
timer() {
  json "$1" xenpv-timer "${@:2}"
  value "$1.verified" "$(read_json "$1" '[.cpus[] | select(.verdict == "verified")] | length')"
}

timers() {
  local method
  for method in clock_nanosleep timerfd asio spin; do
    timer "timer.$method" --method "$method" --interval 10ms --duration 2s
  done
  # All events must come from the PV timer.
  method=timer.clock_nanosleep
  value timer.device "$(read_json "$method" '[.cpus[].evidence.device] | unique | join(" ")')"
  value timer.local_interrupts "$(read_json "$method" '[.cpus[].evidence.local_interrupts] | add')"
  value timer.min_delta "$(read_json "$method" '[.cpus[].evidence.min_delta_ns | tostring] | unique | join(" ")')"
  value timer.incarnation "$(read_json "$method" '.incarnation | "\(.before) \(.after)"')"
  value timer.runstate "$(read_json "$method" '[.cpus[].runstate_ns | select(.running > 0)] | length')"
}

# Checks that the two parts of the timer latency add up to the total.
split() {
  mount -t tracefs tracefs /sys/kernel/tracing
  timer timer.split --split --interval 10ms --duration 3s
  check timer.split.parts jq -e '.cpus | all(.split.hypervisor_ns.samples > 100 and
    ((.split.hypervisor_ns.mean + .split.guest_ns.mean) / .wake_up_late_ns.mean | . > 0.9 and . < 1.1))' "$results/timer.split.json"
  same timer.split.gone "instances: " "instances: $(ls /sys/kernel/tracing/instances)"
}

# Without permission to use SCHED_FIFO, xenpv-timer prints a warning.
unprivileged() {
  setpriv --reuid=65534 --clear-groups xenpv-timer --duration 200ms >"$results/unprivileged.log" 2>&1
  check unprivileged.message grep -q '^SCHED_FIFO 80 is refused (operation not permitted)' "$results/unprivileged.log"
  check unprivileged.policy grep -q 'SCHED_OTHER with a timer slack of 1 ns' "$results/unprivileged.log"
}

# Occupies CPU 0 for 300 ms at a higher priority, and prints the actual time in ms.
hog() {
  local start now
  chrt -R -f -p 90 "$BASHPID"
  start=${EPOCHREALTIME/[.,]/} now=$start
  while ((now < start + 300000)); do now=${EPOCHREALTIME/[.,]/}; done
  chrt -o -p 0 "$BASHPID"
  echo "$(((now - start) / 1000))"
}

injected() {
  local took times
  xenpv-timer --cpus 0 --interval 10ms --duration 6s --json >"$results/injected.json" &
  sleep 2
  took=$(taskset -cp 0 "$BASHPID" >/dev/null; hog)
  wait "$!"
  # Changing the scheduling policy twice takes extra time.
  check injected.late within "$took" "$((took + 100))" "$(jq '.cpus[0].late_ns.max / 1e6' "$results/injected.json")"
  # No late period may be omitted: all periods within these 300 ms must be counted as lost, each
  # with its lateness.
  check injected.lost jq -e --argjson took "$took" '.cpus[0] | .lost >= $took / 10 - 2 and
    ([.late_ns.histogram[] | select(.[0] > 100e6) | .[1]] | add) >= ($took - 100) / 10 - 2' "$results/injected.json"

  xenpv-timer --interval 10ms --duration 12s --json >"$results/paused.json" &
  sleep 3
  read -r -a times <<<"$(ask pause)"
  wait "$!"
  mapfile -t late < <(jq '.cpus[].late_ns.max / 1e6' "$results/paused.json")
  check paused.late within "${times[0]}" "$((times[1] + 200))" "${late[@]}"
}

ipis() {
  local count=100
  # Four vCPUs need 60 measurements.
  if [[ $(nproc) -gt 2 ]]; then count=40; fi
  json ipi xenpv-ipi --count "$count" --batch 20 --svg "$results/ipi.svg"
  value ipi.cpus "$(jq '.from | length' "$results/ipi.json")"
  check ipi.pairs jq -e '(.from | length) as $n | .pairs | length == 3 * $n * $n and all(.verdict == "verified")' "$results/ipi.json"
  check ipi.broadcasts jq -e '(.from | length) as $n | .broadcasts | length == $n * ($n - 1) and all(.verdict == "verified")' "$results/ipi.json"
  value ipi.type "$(jq -r '.type.value' "$results/ipi.json")"
  value ipi.thrown_away "$(jq '[.pairs[], .broadcasts[] | .batches_thrown_away] | add' "$results/ipi.json")"
  # Each call to a different, running CPU causes one callfuncsingle there. The baseline is a call
  # from a CPU to itself.
  check ipi.counted jq -e '[.pairs[] | select(.method == "membarrier" and (.is_baseline | not))] |
    all(.counted.to.callfuncsingle == .calls and .counted.to.callfunc == 0)' "$results/ipi.json"
}

# Checks that xenpv-ipi detects IPIs that are never sent: another thread occupies CPU 1, so the
# measuring thread does not run there, and the kernel does not need to interrupt CPU 1.
trap_is_seen() {
  local status=0 busy
  chrt -f 50 taskset -c 1 bash -c 'while :; do :; done' &
  busy=$!
  sleep 1
  xenpv-ipi --method membarrier --from 0 --to 1 --policy other --count 100 --json >"$results/trap.json" 2>"$results/trap.err" ||
    status=$?
  kill "$busy"
  value trap.status "$status"
  value trap.times "$(jq -r '.pairs[0].round_trip_ns' "$results/trap.json")"
  value trap.message "$(grep -cE 'the measuring thread there was not always running|another thread with a higher priority' "$results/trap.err")"
}

# percentiles: reads lines "TIME COUNT", and prints p50, p99 and the number of samples.
percentiles() {
  sort -g | awk '{ time[NR] = $1; count[NR] = $2; all += $2 }
    END { for (i = 1; i <= NR; i++) { seen += count[i]
      if (!p50 && seen >= all * 0.5) p50 = time[i]
      if (seen >= all * 0.99) { print p50, time[i], all; exit } } }'
}

# Compares only wake-ups, because cyclictest does not report lost periods. cyclictest's histogram
# rounds down to whole microseconds and omits latencies beyond the last bucket. Both programs use
# one thread, because cyclictest wakes several threads at the same time and xenpv-timer does not.
# The programs alternate, because the load on the machine changes within seconds. The samples of all
# rounds are combined.
compared() {
  local round ours theirs
  for ((round = 1; round <= 12; round++)); do
    cyclictest -q -m -t 1 -a 1 -p 80 -i 5000 -d 0 -D 1 -h 500000 >"$results/cyclictest.$round.txt" 2>&1
    xenpv-timer --cpus 1 --interval 5ms --duration 1s --json >"$results/compared.$round.json" 2>/dev/null
  done
  ours=$(jq -r '.cpus[].wake_up_late_ns.histogram[] | "\(.[0] / 1000) \(.[1])"' "$results"/compared.*.json | percentiles)
  theirs=$(awk '/^[0-9]/ { for (i = 2; i <= NF; i++) { if ($i > 0) print $1 + 0, $i + 0 } }' "$results"/cyclictest.*.txt | percentiles)
  gzip "$results"/cyclictest.*.txt
  value compared.ours "$ours"
  value compared.cyclictest "$theirs"
  # shellcheck disable=SC2086  # three figures each
  set -- $ours $theirs
  check compared.p50 within 0.9 1.1 "$(awk "BEGIN { print $1 / $4 }")"
  check compared.p99 within 0.75 1.25 "$(awk "BEGIN { print $2 / $5 }")"
}

main() {
  timers
  echo "$place: $SECONDS s after the timers"
  split
  unprivileged
  injected
  echo "$place: $SECONDS s after the delays"
  ipis
  trap_is_seen
  echo "$place: $SECONDS s after the IPIs"
  if [[ $(nproc) -eq 2 ]]; then compared; fi
  ask over
}
