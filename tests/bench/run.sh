#!/usr/bin/env bash
# tests/bench/run.sh [BUILD_DIR]: runs a build's benchmarks in the simulator. The benchmarks print
# times and ratios, and never fail because of a result. Machines are noisy: rely on the ratios.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try}
[ -x "$build/bin/bench_notify" ] || {
  echo "tests/bench/run.sh: no benchmarks in $build; configure it with -DXENPV_BUILD_BENCH=ON" \
    "-DXENPV_BUILD_TESTS=ON and build them" >&2
  exit 2
}
for bench in bench_notify bench_event_loop; do
  echo "== $bench"
  "$build/bin/xenpv-sim" run -- "$build/bin/$bench"
done
echo "== storm"
# 77: nbdkit or libnbd is not installed; the script reports that.
tests/bench/storm.sh "$build" || [ $? -eq 77 ]
