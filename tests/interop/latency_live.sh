#!/usr/bin/env bash
# latency_live.sh XENPV_SIM XENPV_TIMER XENPV_IPI XENPV_DOCTOR: tests the live display of xenpv-timer,
# xenpv-ipi and xenpv-doctor on a terminal during a measurement.
source "$(dirname "$0")/check.sh"
requires python3
python3 "$(dirname "$0")/latency_live.py" "$2" "$3" "$4"
