#!/usr/bin/env bash
# User instructions of one 4k random read at depth 32 in the frontend's process, by room:
#   tests/bench/instructions.sh [BUILD_DIR]
# Needs valgrind. Unlike times, the figures are the same on every machine with the same compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try}
few=2000 many=22000
command -v valgrind >/dev/null || {
  echo "tests/bench/instructions.sh: valgrind is missing: apt-get install valgrind" >&2
  exit 77
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# profile NAME READS: the custodian makes a profile of its own; the frontend's is the larger one.
profile() {
  "$build/bin/xenpv-sim" run --disk xvdb,memory=64M -- valgrind --tool=callgrind --quiet \
    --callgrind-out-file="$out/$1.%p" "$build/bin/bench_block" --count "$2" device/vbd/51728 \
    >/dev/null
  find "$out" -name "$1.*" -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2
}

python3 tests/bench/rooms_of_callgrind.py "$(profile few $few)" "$(profile many $many)" \
  $((many - few))
