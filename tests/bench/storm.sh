#!/usr/bin/env bash
# tests/bench/storm.sh [BUILD_DIR] [ROUNDS]: compares xenpv-disk in the simulator with nbdkit, under
# a storm of unaligned, overlapping requests and a concurrent low-rate client (the neighbour). The
# servers run on CPU 0, the client on CPU 1. Each server serves 256 MiB of memory over a Unix
# socket. Results are medians of interleaved rounds. Goals: at least half of nbdkit's rate, no
# latency above 1000 ms, and the neighbour keeps at least a third of its rate.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try} rounds=${2:-3} seconds=${SECONDS_EACH:-5}
for program in nbd_storm xenpv-disk; do
  [ -x "$build/bin/$program" ] || {
    echo "tests/bench/storm.sh: no $program in $build; build it first (nbd_storm needs libnbd-dev)" >&2
    exit 77
  }
done
for tool in nbdinfo nbdkit python3 taskset; do
  command -v "$tool" >/dev/null || {
    echo "tests/bench/storm.sh: $tool is missing: packaging/debian/install-packages.sh test bench" >&2
    exit 77
  }
done
[ "$(nproc)" -ge 2 ] || {
  echo "tests/bench/storm.sh: two CPUs are required, one for the servers and one for the client" >&2
  exit 77
}

dir=$(mktemp -d /dev/shm/xenpv-bench-XXXXXX)
servers=()
end() {
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap end EXIT

uri_of() {
  case $1 in
    xenpv) echo "nbd+unix:///xvdb?socket=$dir/xenpv" ;;
    *) echo "nbd+unix:///?socket=$dir/$1" ;;
  esac
}

# serve NAME COMMAND...: starts a server on the socket $dir/NAME.
serve() {
  local name=$1
  shift
  taskset -c 0 "$@" >"$dir/$name.log" 2>&1 &
  servers+=($!)
  for _ in $(seq 100); do
    nbdinfo --size "$(uri_of "$name")" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "tests/bench/storm.sh: $name did not start:" >&2
  cat "$dir/$name.log" >&2
  exit 1
}
serve xenpv "$build/bin/xenpv-sim" run --disk xvdb,memory=256M -- \
  "$build/bin/xenpv-disk" serve xvdb --unix "$dir/xenpv"
serve nbdkit nbdkit -f -U "$dir/nbdkit" memory 256M

for ((round = 1; round <= rounds; ++round)); do
  for server in xenpv nbdkit; do
    taskset -c 1 "$build/bin/nbd_storm" "$(uri_of "$server")" --seconds "$seconds" --seed "$round" >"$dir/figures" ||
      echo "# $server: problems in round $round" >&2
    sed "s/^/$server /" "$dir/figures" >>"$dir/all"
  done
done
python3 - "$dir/all" <<'TABLE'
import statistics, sys
rounds = {}
for line in open(sys.argv[1]):
    server, name, value = line.split()
    rounds.setdefault((server, name), []).append(float(value))
xenpv, nbdkit = ({name: statistics.median(values) for (server, name), values in rounds.items() if server == which}
                for which in ("xenpv", "nbdkit"))
kept = {which: figures["neighbour-storm-rate"] / figures["neighbour-quiet-rate"]
        for which, figures in (("xenpv", xenpv), ("nbdkit", nbdkit))}
print(f"{'':32}{'xenpv':>10}{'nbdkit':>10}{'ratio':>8}")
for name, text in (("rate", "storm, requests/s"), ("worst-ms", "worst latency, ms"),
                   ("neighbour-quiet-rate", "neighbour alone, requests/s"),
                   ("neighbour-storm-rate", "neighbour in storm, requests/s"),
                   ("neighbour-worst-ms", "neighbour, worst latency, ms"),
                   ("problems", "problems")):
    ratio = f"{xenpv[name] / nbdkit[name]:8.2f}" if nbdkit[name] else ""
    print(f"{text:32}{xenpv[name]:10.0f}{nbdkit[name]:10.0f}{ratio}")
print(f"{'neighbour, storm to alone':32}{kept['xenpv']:10.2f}{kept['nbdkit']:10.2f}")
TABLE
