#!/bin/bash
# Runs in a guest: calls the scenario's main(), and writes all results to the last disk as a tar
# archive.
set -u
source "$XENPV_INSIDE/lib.sh"
source "$XENPV_SCENARIO"
source "$XENPV_INSIDE/run-main.sh"

run_main "${limit:-120}"
dmesg >"$results/dmesg.log"
tar -cf /dev/xvdz -C "$results" .
