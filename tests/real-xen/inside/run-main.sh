# run_main SECONDS: runs the scenario's main() in the current domain. The output goes to the console
# and to output.log.
run_main() {
  local seconds=$1 pid status=0
  # Redirect the output to a file, because a leftover process would keep a pipe open.
  timeout --kill-after=5 "$seconds" bash "$XENPV_INSIDE/call.sh" main >"$results/output.log" 2>&1 &
  pid=$!
  tail -q -n +1 -f --pid="$pid" "$results/output.log" &
  wait "$pid" || status=$?
  case $status in
    0) ;;
    124 | 137) fail main "took longer than $seconds s" ;;
    *) fail main "exit status $status" ;;
  esac
  echo "$status" >"$results/status"
}
