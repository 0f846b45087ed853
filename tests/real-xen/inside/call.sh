#!/bin/bash
# call.sh FUNCTION [ARGUMENT...]: runs a function of the scenario as a process, so that `timeout`
# can limit its run time.
set -uo pipefail
source "$XENPV_INSIDE/lib.sh"
source "$XENPV_SCENARIO"
cd /tmp || exit 1
"$@"
