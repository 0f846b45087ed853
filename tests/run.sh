#!/usr/bin/env bash
# Builds and checks the whole tree on Debian 12 or 13; see usage() below.
set -euo pipefail

usage() {
  cat <<'END'
usage: tests/run.sh [--quick] [--no-sanitize] [--no-tidy] [--no-real-xen | --need-real-xen]

Installs missing packages (as root or with sudo), builds with warnings as errors and runs all
checks: format, self-contained headers, reference documentation, tests, an external program that
uses the installed package and, by default, clang-tidy, the tests with ASan+UBSan and with TSan,
fuzzing for ten seconds per target, and scenarios on real Xen in QEMU. Builds and logs are in build/.

  --quick           skip clang-tidy, sanitizers, fuzzing and real Xen; replay the fuzzing corpora
  --no-sanitize     skip the two sanitizer builds, and fuzzing, which needs one of them
  --no-tidy         skip clang-tidy
  --no-real-xen     skip real Xen; to measure speed there, use tests/real-xen/run.sh speed
  --need-real-xen   fail if real Xen is not available, instead of skipping it

The last line is "N passed, N failed, N skipped". It counts test cases; any other check counts as one.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid.
END
}

sanitize=yes
tidy=yes
real_xen=yes
for option in "$@"; do
  case $option in
    --quick) sanitize=no tidy=no real_xen=no ;;
    --no-sanitize) sanitize=no ;;
    --no-tidy) tidy=no ;;
    --no-real-xen) real_xen=no ;;
    --need-real-xen) real_xen=needed ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$top/build/logs
jobs=$(nproc)
passed=0 failed=0 skipped=0
summary=()
failed_logs=()
launcher=()
mkdir -p "$logs"
cd "$top"

# stage NAME COMMAND...: runs the command, writes its output to a log, and counts it as one check.
stage() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  if "$@" >"$logs/$name.log" 2>&1; then
    passed=$((passed + 1))
    note "$name" ok "$start" ""
  else
    failed=$((failed + 1))
    note "$name" FAILED "$start" "see build/logs/$name.log"
    tail -n 60 "$logs/$name.log" >&2
    return 1
  fi
}

# note NAME VERDICT START TEXT: prints a line, and repeats it in the summary.
note() {
  summary+=("$(printf '%-12s %-7s %4d s  %s' "$1" "$2" $((SECONDS - $3)) "$4")")
  echo "${summary[-1]}"
}

# cases NAME BUILD [CTEST-ARGUMENT...]: runs ctest and counts its cases.
cases() {
  local name=$1 build=$2 start=$SECONDS verdict=ok counts p f s
  shift 2
  echo "== $name"
  rm -f "$logs/$name.xml"
  # Most tests wait more than they compute, so run more tests than there are CPUs.
  "${launcher[@]}" ctest --test-dir "$build" -j $((jobs * 3 / 2 + 1)) --timeout 300 --no-tests=error --output-on-failure \
    --output-junit "$logs/$name.xml" "$@" >"$logs/$name.log" 2>&1 || verdict=FAILED
  counts=$(count_cases "$logs/$name.xml") || counts="0 1 0"
  read -r p f s <<<"$counts"
  # If there are no cases or a program is missing, ctest fails although no case has failed.
  if [[ $verdict == FAILED && $f -eq 0 ]]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  note "$name" "$verdict" "$start" "$p passed, $f failed, $s skipped"
  [[ $verdict == ok ]] || failed_logs+=("$name")
}

# start_tidy, finish_tidy: run clang-tidy in the time in which the emulated hosts leave a CPU idle.
start_tidy() {
  (
    chrt --idle --pid 0 "$BASHPID" || renice -n 19 -p "$BASHPID"
    check_tidy
  ) >"$logs/tidy-output.log" 2>&1 &
  tidy_pid=$!
}

finish_tidy() {
  local status=0
  wait "$tidy_pid" || status=$?
  cat "$logs/tidy-output.log"
  return "$status"
}

# run_real_xen: runs the scenarios on real Xen and counts the cases.
run_real_xen() {
  local start=$SECONDS verdict=ok status=0 p f s again
  echo "== real-xen"
  tests/real-xen/run.sh --build build/check --short --again >"$logs/real-xen.log" 2>&1 || status=$?
  if [[ $status -eq 77 && $real_xen != needed ]]; then
    skipped=$((skipped + 1))
    note real-xen skipped "$start" "$(tail -n 1 "$logs/real-xen.log")"
    return
  fi
  read -r p _ f _ s _ < <(tail -n 1 "$logs/real-xen.log" | grep -E '^[0-9]+ passed, [0-9]+ failed') || true
  p=${p:-0} f=${f:-0} s=${s:-0}
  if [[ $status -ne 0 ]]; then
    verdict=FAILED
    if [[ $f -eq 0 ]]; then f=1; fi
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  again=$(grep -c '^note .* second attempt' "$logs/real-xen.log") || true
  note real-xen "$verdict" "$start" "$p passed, $f failed, $s skipped; $again scenarios were retried"
  [[ $verdict == ok ]] || grep -vE '^(ok|skipped) ' "$logs/real-xen.log" | tail -n 120 >&2
}

# failed_output NAME: prints the output of a stage's failed cases, and the end of the stage's log.
failed_output() {
  echo "== $1: failed cases"
  [[ ! -f $logs/$1.xml ]] || python3 - "$logs/$1.xml" <<'END'
import sys
import xml.etree.ElementTree as tree

for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    if case.find("failure") is not None or case.get("status") == "fail":
        output = (case.findtext("system-out") or "").splitlines()
        print("-- " + case.get("name"), *output[-60:], sep="\n")
END
  tail -n 8 "$logs/$1.log"
}

count_cases() {
  python3 - "$1" <<'END'
import sys
import xml.etree.ElementTree as tree

passed = failed = skipped = 0
for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    if case.find("failure") is not None or case.get("status") == "fail":
        failed += 1
    elif case.get("status") == "run":
        passed += 1
    else:
        skipped += 1
print(passed, failed, skipped)
END
}

finish() {
  local line name
  for name in "${failed_logs[@]}"; do failed_output "$name"; done
  echo
  for line in "${summary[@]}"; do echo "$line"; done
  echo "total        $((SECONDS / 60)) min $((SECONDS % 60)) s"
  echo "$passed passed, $failed failed, $skipped skipped"
  [[ $failed -eq 0 ]] || exit 1
  exit 0
}

# build DIRECTORY OPTION...: builds all targets with warnings as errors.
build() {
  local directory=$1
  shift
  local options=(-DXENPV_WERROR=ON "$@")
  if command -v ccache >/dev/null; then
    options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    # ccache requires this for sources that use a precompiled header.
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  fi
  cmake -S "$top" -B "$directory" -G Ninja "${options[@]}" &&
    "${launcher[@]}" cmake --build "$directory" -j "$jobs"
}

check_format() {
  find include lib apps tests \( -name '*.hpp' -o -name '*.cpp' \) -print0 |
    xargs -0 -n 20 clang-format --dry-run -Werror
}

check_headers() {
  cmake --build build/check -j "$jobs" --target all_verify_interface_header_sets
}

check_tidy() {
  # clang cannot read the precompiled headers of GCC. Unity batches save time, most of which is
  # spent on headers. A batch includes source files, so the check for such includes is disabled.
  cmake -S "$top" -B build/tidy -G Ninja -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DXENPV_UNITY=ON \
    -DXENPV_BUILD_TESTS=OFF || return
  run-clang-tidy -p build/tidy -j "$jobs" -quiet -checks=-bugprone-suspicious-include \
    "(/Unity/unity_[0-9]+_cxx\.cxx|^$top/(lib|apps)/.*\.cpp)$"
}

# sanitized NAME SANITIZERS OPTION...: makes a separate build and runs its tests. Unity batches and
# the optimization level do not affect the results. Sanitized programs do not start on kernels with
# more address space randomization than they expect, so a launcher disables randomization. The build
# also needs the launcher, because it runs the test programs to list their cases.
sanitized() {
  local name=$1 sanitizers=$2 launcher=()
  shift 2
  if setarch "$(uname -m)" -R true 2>/dev/null; then launcher=(setarch "$(uname -m)" -R); fi
  stage "build-$name" build "build/$name" -DCMAKE_BUILD_TYPE=None -DXENPV_BUILD_BENCH=OFF -DXENPV_UNITY=ON \
    -DXENPV_SANITIZE="$sanitizers" "$@" || return 0
  # In an instrumented build, exploring millions of states would take many minutes.
  XENPV_MODEL_STATES=50000 cases "$name" "build/$name" -LE 'install|bench'
}

export ASAN_OPTIONS=strict_string_checks=1:verify_asan_link_order=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=second_deadlock_stack=1:halt_on_error=1
[[ ! -f tests/tsan.supp ]] || TSAN_OPTIONS+=:suppressions=$top/tests/tsan.supp

stage packages packaging/debian/install-packages.sh build try test || finish
stage format check_format || true
stage build build build/check -DCMAKE_BUILD_TYPE=RelWithDebInfo -DXENPV_UNITY=ON || finish
cases tests build/check -LE 'install|bench'
stage headers check_headers || true
stage docs cmake --build build/check --target docs || true
cases install build/check -L install
[[ $tidy == no || $real_xen != no ]] || stage tidy check_tidy || true
if [[ $sanitize == yes ]]; then
  # Fuzzing needs clang: in this build, ctest runs the fuzz targets with the other tests.
  sanitized asan address,undefined -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    "-DCMAKE_CXX_FLAGS=-O1 -g1 -fsanitize=fuzzer-no-link" -DXENPV_FUZZ_SECONDS=10
  sanitized tsan thread "-DCMAKE_CXX_FLAGS=-O1 -g1"
fi
if [[ $real_xen != no ]]; then
  [[ $tidy == no ]] || start_tidy
  run_real_xen
  [[ $tidy == no ]] || stage tidy finish_tidy || true
fi
finish
