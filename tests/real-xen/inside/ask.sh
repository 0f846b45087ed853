#!/bin/bash
# Runs the function `ask` of lib.sh as a program.
source "$XENPV_INSIDE/lib.sh"
ask "$@"
