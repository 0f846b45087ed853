#!/usr/bin/env bash
# swap_privileges.sh XENPV_SIM XENPV_DISK: tests the settings of a server that must make progress when memory is
# short, and that its command and its custodian have the right ones. Needs CAP_SYS_RESOURCE.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
requires python3 nbdinfo
python3 -c '
import ctypes, sys
sys.exit(ctypes.CDLL(None).prctl(57, 1, 0, 0, 0) != 0)' ||
  { echo "skipped: CAP_SYS_RESOURCE and Linux 5.6 are needed"; exit 77; }
"$sim" start --dir "$host" --disk xvdb,memory=64M
source "$here/serve.sh"
flusher='import ctypes; print(ctypes.CDLL(None).prctl(58, 0, 0, 0, 0))'
locked() { awk '/^VmLck/ { print ($2 > 1000) }' "/proc/$1/status"; }
score() { cat "/proc/$1/oom_score_adj"; }
# PF_MEMALLOC_NOIO, which PR_SET_IO_FLUSHER sets in the flags of a task.
serves_io() { awk '{ print (int($9 / 524288) % 2) }' "/proc/$1/stat"; }

for option in "" --swap; do
  serve xvdb --unix "$dir/nbd.sock" $option
  custodian=$(ps -eo pid=,ppid=,comm= | awk -v parent="$server" '$2 == parent && $3 == "xenpv-custodian" { print $1 }')
  expect "serve $option: the OOM killer spares the server" -1000 "$(score "$server")"
  expect "serve $option: the OOM killer spares the custodian" -1000 "$(score "$custodian")"
  expect "serve $option: the server's threads serve I/O" 1 "$(serves_io "$server")"
  expect "serve $option: memory is locked only with --swap" "${option:+1}" "$(locked "$server" | grep 1 || true)"
  expect "serve $option: the custodian's memory is locked only with --swap" "${option:+1}" \
    "$(locked "$custodian" | grep 1 || true)"
  if [ -n "$option" ]; then
    kill -KILL "$custodian"
    wait_for "a replacement is started" grep -q 'is the new custodian' "$dir/log"
    custodian=$(grep -Eo 'process [0-9]+ is the new custodian' "$dir/log" | awk '{ print $2 }')
    expect "the replacement's memory is locked, too" 1 "$(locked "$custodian")"
    expect "the OOM killer spares the replacement" -1000 "$(score "$custodian")"
  fi
  kill -TERM "$server"
  expect_end "serve $option ends" 0
  own="$(cat /proc/self/oom_score_adj) 0 $(ulimit -n) $(ulimit -Hc) 0"
  expect "run $option: the command has none of the settings" "$own" "$(in_guest "$disk" run xvdb $option -- sh -c '
    echo "$(cat /proc/$$/oom_score_adj) $(python3 -c "$0") $(ulimit -n) $(ulimit -Hc) $(awk "/^VmLck/ { print \$2 }" /proc/$$/status)"' \
    "$flusher" 2>/dev/null)"
done
passed
