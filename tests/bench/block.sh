#!/usr/bin/env bash
# tests/bench/block.sh [BUILD_DIR]: runs the block engine benchmark in the simulator. The frontend
# runs on CPU 0 (with two queues, on CPUs 0 and 1), the backend on any CPU. Compare only results
# from the same run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try}
[ -x "$build/bin/bench_block" ] || {
  echo "tests/bench/block.sh: no benchmarks in $build; configure it with -DXENPV_BUILD_BENCH=ON" \
    "-DXENPV_BUILD_TESTS=ON and build them" >&2
  exit 2
}
exec "$build/bin/xenpv-sim" run --grant-limit 16384 --disk xvdb,null=1G,queues=2 \
  --disk xvdc,memory=1G,queues=2 -- "$build/bin/bench_block" device/vbd/51728 device/vbd/51744
