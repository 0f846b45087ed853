#!/usr/bin/env bash
# Runs the README's commands in a minimal chroot of a Debian release; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/platforms/run.sh [--root DIR] RELEASE [STEP...]

Creates a minimal chroot of the Debian release RELEASE (bookworm or trixie) with mmdebstrap, clones the
last commit of this tree into it and runs these steps in it:

  try     packaging/try.sh
  quick   tests/run.sh --quick
  tests   tests/run.sh
  clang   build everything with clang++ and warnings as errors, and run the unit tests

The default steps are try, quick and clang. Must be run as root; needs mount and PID namespaces. All
packages are installed in the chroot, which is removed at the end.

  --root DIR   keep the chroot in DIR, or reuse the one that an earlier run left there

XENPV_DEBIAN_MIRROR: the mirror to use instead of the default of mmdebstrap.
The last line is "N passed, N failed" and counts steps. Logs are in build/logs/platforms.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid, 77 if the
chroot cannot be created on this machine.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
passed=0 failed=0

source "$top/tests/platforms/chroot.sh"

copy_sources() {
  rm -rf "$root/root/xenpv"
  git clone -q --no-hardlinks "$top" "$root/root/xenpv"
}

command_of() {
  case $1 in
    try) echo 'packaging/try.sh' ;;
    quick) echo 'tests/run.sh --quick' ;;
    tests) echo 'tests/run.sh' ;;
    clang) echo 'packaging/debian/install-packages.sh build test &&
      cmake -S . -B build/clang -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DXENPV_WERROR=ON &&
      cmake --build build/clang && ctest --test-dir build/clang -L unit --output-on-failure' ;;
    *) return 1 ;;
  esac
}

run_step() {
  local step=$1 start=$SECONDS log=$logs/$release-$1.log
  echo "== $release $step"
  if inside "cd /root/xenpv && { $(command_of "$step"); }" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $release $step  $((SECONDS - start)) s: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1))
    echo "FAILED  $release $step  $((SECONDS - start)) s: see $log"
    tail -n 30 "$log" >&2
  fi
}

parse_command_line 0 "$@"
steps=("${arguments[@]}")
[[ ${#steps[@]} -gt 0 ]] || steps=(try quick clang)
for step in "${steps[@]}"; do
  command_of "$step" >/dev/null || misused
done

make_chroot
copy_sources
for step in "${steps[@]}"; do run_step "$step"; done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
