#!/usr/bin/env bash
# Counts the user-space instructions that the frontend process executes for each 4k random read at
# depth 32, by component:
#   tests/bench/instructions.sh [BUILD_DIR]          only the engine
#   tests/bench/instructions.sh [BUILD_DIR] nbd      xenpv-disk with fio as its client, and nbdkit
# Needs valgrind, fio and nbdkit. Unlike times, the counts are the same on all machines that use the
# same compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try} subject=${2:-engine}
few=2000 many=22000
for tool in valgrind fio nbdkit; do
  command -v "$tool" >/dev/null || {
    echo "tests/bench/instructions.sh: $tool is missing: apt-get install $tool" >&2
    exit 77
  }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# under_callgrind NAME COMMAND...: profiles COMMAND; each process writes $out/NAME.PID
under_callgrind() {
  local name=$1
  shift
  valgrind --tool=callgrind --quiet --callgrind-out-file="$out/$name.%p" "$@"
}
export -f under_callgrind
export out

# reads COUNT: prints a fio command that makes COUNT reads from an NBD server
reads() {
  echo "fio --name=x --ioengine=nbd --uri=\"\$uri\" --rw=randread --bs=4k --iodepth=32 --size=64m" \
    "--number_ios=$1 --io_size=1t --norandommap --thread --output=$out/fio.log"
}

# profile NAME COUNT: prints the name of the largest profile, which is the frontend's (the custodian
# writes a smaller profile)
profile() {
  local disk=(--disk xvdb,memory=64M)
  case $subject in
    engine) "$build/bin/xenpv-sim" run "${disk[@]}" -- bash -c 'under_callgrind "$@"' - "$1" "$build/bin/bench_block" \
      --count "$2" device/vbd/51728 ;;
    nbd) "$build/bin/xenpv-sim" run "${disk[@]}" -- bash -c 'under_callgrind "$@"' - "$1" "$build/bin/xenpv-disk" run xvdb \
      -- sh -c "$(reads "$2")" ;;
    nbdkit) under_callgrind "$1" nbdkit -f -U - memory 64M --run "$(reads "$2")" ;;
  esac >/dev/null
  find "$out" -name "$1.*" -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2
}

compare() {
  python3 tests/bench/rooms_of_callgrind.py "$(profile few $few)" "$(profile many $many)" $((many - few))
  rm -f "$out"/few.* "$out"/many.*
}

compare
if [[ $subject == nbd ]]; then
  echo "nbdkit memory:"
  subject=nbdkit
  compare
fi
