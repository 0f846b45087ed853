#!/usr/bin/env bash
# evtchn_keys.sh XENPV_SIM XENPV_EVTCHN: tests the keys, the scrolling and the layout of
# xenpv-evtchn watch on a pseudo-terminal.
source "$(dirname "$0")/check.sh"
requires python3
python3 "$(dirname "$0")/evtchn_keys.py" "$2" "$dir"
