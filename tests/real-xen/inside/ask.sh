#!/bin/bash
# The word `ask` of lib.sh, for programs.
source "$XENPV_INSIDE/lib.sh"
ask "$@"
