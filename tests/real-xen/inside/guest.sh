#!/bin/bash
# What a guest does: the scenario's main(), then all results as a tar onto the last disk.
set -u
source "$XENPV_INSIDE/lib.sh"
source "$XENPV_SCENARIO"
source "$XENPV_INSIDE/run-main.sh"

run_main "${limit:-120}"
dmesg >"$results/dmesg.log"
tar -cf /dev/xvdz -C "$results" .
