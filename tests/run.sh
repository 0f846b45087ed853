#!/usr/bin/env bash
# Builds and checks the whole tree on Debian 12 or 13; see usage() below.
set -euo pipefail

usage() {
  cat <<'END'
usage: tests/run.sh [--quick] [--no-sanitize] [--no-tidy] [--no-real-xen | --need-real-xen] [--minutes N]

Installs missing packages (as root or with sudo), builds with warnings as errors and runs all
checks: format, self-contained headers, reference documentation, tests, an external program that
uses the installed package and, by default, clang-tidy, the tests with ASan+UBSan and with TSan,
fuzzing for ten seconds per target, and scenarios on real Xen in QEMU. Builds and logs are in build/.

  --quick           skip clang-tidy, sanitizers, fuzzing and real Xen; replay the fuzzing corpora
  --no-sanitize     skip the two sanitizer builds, and fuzzing, which needs one of them
  --no-tidy         skip clang-tidy
  --no-real-xen     skip real Xen; to measure speed there, use tests/real-xen/run.sh speed
  --need-real-xen   fail if real Xen is not available, instead of skipping it
  --minutes N       begin nothing that would probably still run after N minutes, and count it as skipped

A few failed tests are run again, alone, because some have deadlines that a busy machine exceeds. Those
that pass then are named. What a sanitizer reports is never ignored.

The last line is "N passed, N failed, N skipped". It counts test cases; any other check counts as one.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid.
END
}

sanitize=yes
tidy=yes
real_xen=yes
minutes=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) sanitize=no tidy=no real_xen=no ;;
    --no-sanitize) sanitize=no ;;
    --no-tidy) tidy=no ;;
    --no-real-xen) real_xen=no ;;
    --need-real-xen) real_xen=needed ;;
    --minutes)
      [[ ${2:-} =~ ^[0-9]{1,4}$ ]] || { usage >&2 && exit 2; }
      minutes=$((10#$2))
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$top/build/logs
jobs=$(nproc)
passed=0 failed=0 skipped=0
summary=()
failed_logs=()
launcher=()
declare -A begun=() processes=()
mkdir -p "$logs"
cd "$top"
trap end_begun EXIT

# stage NAME COMMAND...: runs the command, writes its output to a log, and counts it as one check.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" >"$logs/$name.log" 2>&1 || status=$?
  conclude "$name" "$status" "$start"
}

# conclude NAME STATUS START: counts a stage by its exit status.
conclude() {
  if [[ $2 -eq 0 ]]; then
    passed=$((passed + 1))
    note "$1" ok "$3" ""
  else
    failed=$((failed + 1))
    note "$1" FAILED "$3" "see build/logs/$1.log"
    tail -n 60 "$logs/$1.log" >&2
    return 1
  fi
}

# note NAME VERDICT START TEXT: prints a line, and repeats it in the summary.
note() {
  summary+=("$(printf '%-12s %-7s %4d s  %s' "$1" "$2" $((SECONDS - $3)) "$4")")
  echo "${summary[-1]}"
}

# cases NAME BUILD [CTEST-ARGUMENT...]: runs ctest and counts its cases. A few failed cases are run again,
# alone, because some have deadlines that a busy machine exceeds; see case_results.py.
cases() {
  local name=$1 build=$2 start=$SECONDS verdict=ok text counts p f s r
  shift 2
  echo "== $name"
  rm -f "$logs/$name.xml" "$logs/$name.again.xml"
  # Most tests wait more than they compute, so run more tests than there are CPUs.
  run_cases "$name" "$build" -j $((jobs * 3 / 2 + 1)) --no-tests=error "$@" || verdict=FAILED
  counts=$(case_results count "$name") || counts="0 1 0 0"
  read -r p f s r <<<"$counts"
  if [[ $verdict == FAILED && $f -gt 0 && $f -le 10 ]]; then
    run_cases "$name.again" "$build" --rerun-failed && verdict=ok
    read -r p f s r < <(case_results count "$name")
    [[ $f -eq 0 ]] || verdict=FAILED
  fi
  # If there are no cases or a program is missing, ctest fails although no case has failed.
  if [[ $verdict == FAILED && $f -eq 0 ]]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  text="$p passed, $f failed, $s skipped"
  [[ $r -eq 0 ]] || text+="; passed only when run again, alone: $(case_results recovered "$name" | paste -s -d ' ')"
  note "$name" "$verdict" "$start" "$text"
  [[ $verdict == ok ]] || failed_logs+=("$name")
}

# run_cases NAME BUILD CTEST-ARGUMENT...: runs ctest with a log and a JUnit file of this name.
run_cases() {
  local name=$1 build=$2
  shift 2
  "${launcher[@]}" ctest --test-dir "$build" --timeout 300 --output-on-failure \
    --output-junit "$logs/$name.xml" "$@" >"$logs/$name.log" 2>&1
}

# case_results COMMAND NAME
case_results() { python3 -B "$top/tests/case_results.py" "$1" "$logs/$2.xml" "$logs/$2.again.xml"; }

# begin NAME COMMAND...: starts a stage in the time in which other programs leave a CPU idle.
begin() {
  local name=$1
  shift
  begun[$name]=$SECONDS
  (
    chrt --idle --pid 0 "$BASHPID" || renice -n 19 -p "$BASHPID"
    "$@"
  ) >"$logs/$name.log" 2>&1 &
  processes[$name]=$!
}

# finish_begun NAME: gives the stage its share of the CPUs, waits for it and counts it.
finish_begun() {
  local process status=0
  echo "== $1"
  for process in $(descendants "${processes[$1]}"); do
    chrt --other --pid 0 "$process" >/dev/null 2>&1 || true
  done
  wait "${processes[$1]}" || status=$?
  unset "processes[$1]"
  conclude "$1" "$status" "${begun[$1]}"
}

# end_begun: kills the stages that are still running when this script ends early.
end_begun() {
  local process
  for process in "${processes[@]}"; do
    # shellcheck disable=SC2046  # one word per process
    kill $(descendants "$process") 2>/dev/null || true
  done
}

descendants() {
  local child
  echo "$1"
  for child in $(pgrep -P "$1"); do descendants "$child"; done
}

# run_real_xen: runs the scenarios on real Xen and counts the cases.
run_real_xen() {
  local start=$SECONDS verdict=ok status=0 limit=() p f s again
  echo "== real-xen"
  # A scenario takes up to five minutes.
  [[ -z $minutes ]] || limit=(--minutes "$(at_least_zero $((minutes - SECONDS / 60 - 5)))")
  tests/real-xen/run.sh --build build/check --short --again "${limit[@]}" >"$logs/real-xen.log" 2>&1 || status=$?
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
  [[ $verdict == ok ]] || failed_logs+=(real-xen)
}

at_least_zero() { echo $(($1 > 0 ? $1 : 0)); }

# time_for NAME MINUTES: true if this many minutes are left; otherwise counts NAME as skipped.
time_for() {
  [[ -n $minutes && $((SECONDS / 60 + $2)) -gt $minutes ]] || return 0
  skipped=$((skipped + 1))
  note "$1" skipped "$SECONDS" "it takes up to $2 of the $minutes minutes, of which $((SECONDS / 60)) have passed"
  return 1
}

# failed_output NAME: prints the output of a stage's failed cases, shorter if there are many, and their names.
failed_output() {
  echo "== $1: failed cases"
  if [[ $1 == real-xen ]]; then
    grep -vE '^(ok|skipped) ' "$logs/real-xen.log" | tail -n 120
    return
  fi
  [[ ! -f $logs/$1.xml ]] || case_results failed "$1"
  # Not `sed | head`: with pipefail, the SIGPIPE of sed would end this script before the summary.
  awk '/^The following tests FAILED/ { rest = 80 } rest-- > 0' "$logs/$1.log"
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
    # ccache requires this for sources that use a precompiled header. Other checkouts share its results.
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1
  fi
  cmake -S "$top" -B "$directory" -G Ninja "${options[@]}" &&
    "${launcher[@]}" cmake --build "$directory" -j "$jobs"
}

# Other versions lay out some lines differently.
format_version=14
check_format() {
  find include lib apps tests \( -name '*.hpp' -o -name '*.cpp' \) -print0 |
    xargs -0 -n 20 clang-format --dry-run -Werror
}

check_headers() {
  cmake --build build/check -j "$jobs" --target all_verify_interface_header_sets
}

check_tidy() {
  # clang cannot read the precompiled headers of GCC. Large unity batches save time, most of which is
  # spent on headers. A batch includes source files, so the check for such includes is disabled.
  cmake -S "$top" -B build/tidy -G Ninja -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DXENPV_UNITY=ON \
    -DXENPV_UNITY_BATCH=24 -DXENPV_BUILD_TESTS=OFF &&
    cmake --build build/tidy --target xenpv_commit || return  # a generated header
  run-clang-tidy -p build/tidy -j "$jobs" -quiet -checks=-bugprone-suspicious-include \
    "(/Unity/unity_[0-9]+_cxx\.cxx|^$top/(lib|apps)/.*\.cpp)$"
}

# build_sanitized NAME SANITIZERS OPTION...: makes a separate build. Unity batches and the optimization
# level do not affect the results of its tests.
build_sanitized() {
  local name=$1 sanitizers=$2
  shift 2
  launcher=("${sanitizer_launcher[@]}")
  build "build/$name" -DCMAKE_BUILD_TYPE=None -DXENPV_BUILD_BENCH=OFF -DXENPV_UNITY=ON \
    -DXENPV_SANITIZE="$sanitizers" "$@"
}

build_asan() {
  # Fuzzing needs clang: in this build, ctest runs the fuzz targets with the other tests.
  build_sanitized asan address,undefined -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    "-DCMAKE_CXX_FLAGS=-O1 -g1" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DXENPV_FUZZ_SECONDS=10
}

build_tsan() { build_sanitized tsan thread "-DCMAKE_CXX_FLAGS=-O1 -g1"; }

# sanitized_cases NAME: runs the tests of a sanitizer build.
sanitized_cases() {
  local launcher=("${sanitizer_launcher[@]}")
  # In an instrumented build, exploring millions of states would take many minutes.
  XENPV_MODEL_STATES=50000 cases "$1" "build/$1" -LE 'install|bench'
}

# Sanitized programs do not start on kernels with more address space randomization than they expect.
# Their builds need this too, because they run the test programs to list their cases.
sanitizer_launcher=()
if setarch "$(uname -m)" -R true 2>/dev/null; then sanitizer_launcher=(setarch "$(uname -m)" -R); fi
export ASAN_OPTIONS=strict_string_checks=1:verify_asan_link_order=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=second_deadlock_stack=1:halt_on_error=1
[[ ! -f tests/tsan.supp ]] || TSAN_OPTIONS+=:suppressions=$top/tests/tsan.supp

stage packages packaging/debian/install-packages.sh build try test || finish
if [[ $(clang-format --version 2>&1) == *" version $format_version."* ]]; then
  stage format check_format || true
else
  skipped=$((skipped + 1))
  note format skipped "$SECONDS" "the sources have the layout of clang-format $format_version, which Debian 12 has"
fi
# Line numbers are all that the tests need of the debugging information.
stage build build build/check -DCMAKE_BUILD_TYPE=RelWithDebInfo -DXENPV_UNITY=ON \
  "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1 -DNDEBUG" || finish
cases tests build/check -LE 'install|bench'
stage headers check_headers || true
stage docs cmake --build build/check --target docs || true
cases install build/check -L install
[[ $tidy == no || $real_xen != no ]] || stage tidy check_tidy || true
if [[ $sanitize == yes ]] && time_for asan 35; then
  if stage build-asan build_asan; then sanitized_cases asan; fi
fi
if [[ $real_xen != no ]]; then
  [[ $tidy == no ]] || begin tidy check_tidy
  run_real_xen
  [[ $tidy == no ]] || finish_begun tidy || true
fi
if [[ $sanitize == yes ]] && time_for tsan 25; then
  if stage build-tsan build_tsan; then sanitized_cases tsan; fi
fi
finish
