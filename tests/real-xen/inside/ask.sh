#!/bin/bash
# The function `ask` of lib.sh as a program.
source "$XENPV_INSIDE/lib.sh"
ask "$@"
