#!/bin/bash
# call.sh FUNCTION [ARGUMENT...]: a function of the scenario in a process of its own, so that it can be
# given a limit of time.
set -uo pipefail
source "$XENPV_INSIDE/lib.sh"
source "$XENPV_SCENARIO"
cd /tmp || exit 1
"$@"
