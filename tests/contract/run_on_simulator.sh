#!/usr/bin/env bash
# Runs the contract tests in the simulator:
#   run_on_simulator.sh XENPV_SIM CONTRACT_TESTS XEN_VERSION guest|domain_0
# The guest has a peer in domain 0, so no two-domain case is skipped.
set -euo pipefail
sim=$1 tests=$2 version=$3 place=$4
dir=$(mktemp -d "${TMPDIR:-/tmp}/xenpv-contract-XXXXXX")
trap 'status=$?; "$sim" stop --dir "$dir/host" 2>/dev/null || true; rm -rf "$dir"; exit $status' EXIT

"$sim" start --dir "$dir/host" --xen "$version"
if [ "$place" = domain_0 ]; then
  "$sim" exec --dir "$dir/host" --domain 0 -- "$tests" --gtest_brief=1
  exit
fi
"$sim" exec --dir "$dir/host" --domain 0 -- "$tests" --peer 1 &
peer=$!
XENPV_CONTRACT_PEER=1 "$sim" exec --dir "$dir/host" --domain 1 -- "$tests" --gtest_brief=1
kill "$peer"
