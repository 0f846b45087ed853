# run_main SECONDS: runs the scenario's main() in this place, with its output on the console and in
# output.log.
run_main() {
  local seconds=$1 pid status=0
  # The output goes to a file, because a pipe would stay open while a left-over process runs.
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
