#!/usr/bin/env bash
# Runs the scenarios on all hosts and prints one table; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/real-xen/matrix.sh [--out DIR] [ROW...]

Runs the scenarios of tests/real-xen/run.sh on several hosts and prints a table of passed and total
cases. Takes hours, and needs a quiet machine. A ROW is HOST, or HOST/GUEST for guests that run a
different release. The default rows are all hosts and both combinations of bookworm and trixie.

  --out DIR   write logs and results to DIR instead of build/logs/real-xen/matrix; cells that
              already have a result there are not run again

Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
run=$top/tests/real-xen/run.sh
out=$top/build/logs/real-xen/matrix

# scenarios_of ROW: prints the scenarios for a row.
scenarios_of() {
  case $1 in
    */*) echo "block disk recovery-save" ;;
    *-arm64) echo "facts contract block disk crash evtchn recovery-backend latency doctor" ;;
    *) "$run" --list | paste -s -d ' ' ;;
  esac
}

# run_cell ROW SCENARIO: runs the scenario and writes the run's last line to
# OUT/ROW/SCENARIO.result.
run_cell() {
  local row=$1 scenario=$2 start=$SECONDS where=$out/${1/\//-on-}
  local result=$where/$scenario.result guest=()
  [[ ! -s $result ]] || return 0
  [[ $row != */* ]] || guest=(--guest "${row#*/}")
  mkdir -p "$where"
  echo "== $row $scenario"
  "$run" --host "${row%/*}" "${guest[@]}" --out "$where" "$scenario" >"$where/$scenario.log" 2>&1 || true
  echo "$(tail -n 1 "$where/$scenario.log") $((SECONDS - start)) s" >"$result"
  grep '^FAILED' "$where/$scenario.log" || true
  cat "$result"
}

# cell ROW SCENARIO: prints "PASSED/ALL" for the table.
cell() {
  local passed failed skipped
  if read -r passed _ failed _ skipped _ 2>/dev/null <"$out/${1/\//-on-}/$2.result"; then
    [[ $passed$failed$skipped =~ ^[0-9]+$ ]] || { echo failed && return; }
    echo "$passed/$((passed + failed))$([[ $skipped -eq 0 ]] || echo " ($skipped skipped)")"
  else
    echo "-"
  fi
}

rows=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --out)
      [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
      out=$(realpath -m "$2")
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) rows+=("$1") ;;
  esac
  shift
done
if [[ ${#rows[@]} -eq 0 ]]; then rows=(bookworm trixie trixie-arm64 bookworm/trixie trixie/bookworm); fi
for row in "${rows[@]}"; do
  for scenario in $(scenarios_of "$row"); do run_cell "$row" "$scenario"; done
done

echo
printf '| scenario |'
printf ' %s |' "${rows[@]}"
printf '\n|---|'
for row in "${rows[@]}"; do printf -- '---|'; done
printf '\n'
failures=0
for scenario in $("$run" --list); do
  printf '| %s |' "$scenario"
  for row in "${rows[@]}"; do
    text=$(cell "$row" "$scenario")
    printf ' %s |' "$text"
    read -r ratio _ <<<"$text"
    [[ $text == - || ${ratio%/*} == "${ratio#*/}" && $text != failed ]] || failures=$((failures + 1))
  done
  printf '\n'
done
[[ $failures -eq 0 ]]
