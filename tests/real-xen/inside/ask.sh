#!/bin/bash
# Runs lib.sh's function `ask` as a program.
source "$XENPV_INSIDE/lib.sh"
ask "$@"
