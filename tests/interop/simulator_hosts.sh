#!/usr/bin/env bash
# simulator_hosts.sh XENPV_SIM XENPV_DISK: tests how users address hosts, domains and disks: without --dir, and by
# names that survive save and restore; and the examples in the README and in the help.
. "$(dirname "$0")/check.sh"
disk=$2
requires xenstore-ls
top=$(cd "$(dirname "$0")/../.." && pwd)
export TMPDIR=$dir XDG_RUNTIME_DIR=$dir/runtime
mkdir -m 700 "$XDG_RUNTIME_DIR"
error_of() { "$@" 2>&1 >/dev/null || true; }

# The default directory.
expect_line "without a host, the hint names the directory" \
  "^xenpv-sim: simulated host in $XDG_RUNTIME_DIR/xenpv-sim: .*\`xenpv-sim start --dir $XDG_RUNTIME_DIR/xenpv-sim\` starts a host" \
  "$(error_of "$sim" status)"
"$sim" start --disk xvdb,memory=8M --disk xvdc,memory=8M
expect "exec finds the host" 1 "$("$sim" exec -- xenstore-read domid)"
expect "status finds the host" "$XDG_RUNTIME_DIR/xenpv-sim" "$("$sim" status |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["directory"])')"
expect_line "a second host is refused, with a remedy" \
  'a host is running there; stop it with `xenpv-sim stop`, or choose another directory with --dir' \
  "$(error_of "$sim" start)"
"$sim" disk resize xvdb 16M

# Names survive.
expect "save-restore by name" 2 "$("$sim" domain save-restore guest-1)"
"$sim" disk resize xvdb 24M
expect "the disk has been resized after the domain got another ID" 25165824 \
  "$("$sim" exec --domain 0 -- xenstore-read backend/vbd/2/51728/xenpv/applied-size)"
"$sim" disk restart --domain 2 xvdb
expect "exec addresses the same guest" 2 "$("$sim" exec -- xenstore-read domid)"
expect "a domain by its name" guest-1 "$("$sim" exec --domain guest-1 -- xenstore-read name)"
expect "domain 0 by its name" Domain-0 "$("$sim" exec --domain Domain-0 -- xenstore-read /local/domain/0/name)"
expect_line "an old ID: the host's domains are listed" \
  '^xenpv-sim: domain 1: invalid argument \(no such domain; this host has Domain-0 \(0\), guest-1 \(2\)\)$' \
  "$(error_of "$sim" exec --domain 1 -- true)"
expect_line "an unknown name" "domain 'guest-7': .*this host has Domain-0" "$(error_of "$sim" disk --domain guest-7 restart xvdb)"
expect_line "an unknown disk: the guest's disks are listed" \
  '^xenpv-sim: disk xvdd of guest-1: invalid argument \(no such disk; it has xvdb, xvdc\)$' \
  "$(error_of "$sim" disk restart xvdd)"
expect "a new domain may get the old ID" 1 "$("$sim" domain create --number 1)"
expect "it does not get the name" guest-1-2 "$("$sim" exec --domain 1 -- xenstore-read name)"
"$sim" exec --domain guest-1 -- xenstore-write data/which first
"$sim" exec --domain guest-1-2 -- xenstore-write data/which second
expect "each name addresses its own domain" "first second" \
  "$("$sim" exec -- xenstore-read data/which) $("$sim" exec --domain guest-1-2 -- xenstore-read data/which)"
"$sim" domain destroy guest-1-2
"$sim" stop
expect "stop removes the default directory" "" "$(ls -A "$XDG_RUNTIME_DIR")"

# A command in a domain addresses its own host.
expect "without --dir, in a domain" 33554432 "$("$sim" run --disk xvdb,memory=8M -- sh -c '
  "$0" disk resize xvdb 32M && "$0" exec --domain 0 -- xenstore-read backend/vbd/1/51728/xenpv/applied-size' "$sim")"
# With --dir, messages repeat it.
expect_line "the hint repeats --dir" "start --dir '$dir/no host'" "$(error_of "$sim" stop --dir "$dir/no host")"
"$sim" start --dir "$host"
expect_line "the remedy repeats --dir" "stop it with \`xenpv-sim stop --dir $host\`" "$(error_of "$sim" start --dir "$host")"
"$sim" stop --dir "$host"
# Another user's directory, which could contain another user's host.
if [ "$(id -u)" = 0 ]; then
  mkdir "$XDG_RUNTIME_DIR/xenpv-sim"
  chown nobody "$XDG_RUNTIME_DIR/xenpv-sim"
  for command in start status stop "exec -- true"; do
    # shellcheck disable=SC2086
    expect_line "$command refuses another user's default directory" 'not a directory of this user; choose one with --dir DIR' \
      "$(error_of "$sim" $command)"
  done
  rm -r "$XDG_RUNTIME_DIR/xenpv-sim"
fi

# Disks that cannot be served.
run_with() { "$sim" run --disk "$1" -- touch "$dir/ran"; }
expect "a missing file" 1 "$(status_of run_with "xvdb,file=$dir/missing")"
expect_line "the remedy creates it" "^xenpv-sim: disk xvdb: open $dir/missing: no such file or directory \(create it: truncate -s 64M $dir/missing\)$" \
  "$(error_of run_with "xvdb,file=$dir/missing")"
expect "a directory in place of a file" 1 "$(status_of run_with "xvdb,file=$dir")"
expect "a file without a sector" 1 "$(status_of run_with "xvdb,file=/dev/null")"
expect "the command did not run" 1 "$(status_of test -e "$dir/ran")"
expect "start fails, too" 1 "$(status_of "$sim" start --disk "xvdb,file=$dir/missing")"
expect "it leaves no host behind" "" "$(ls -A "$XDG_RUNTIME_DIR")"

# The examples. A stand-in replaces the user's programs and files.
mkdir "$dir/examples"
cd "$dir/examples"
for program in test go-program my-driver-test; do
  printf '#!/bin/sh\nexit 0\n' >$program
done
# shellcheck disable=SC2016
printf '#!/bin/sh\nxenstore-write "$XENPV_SIM_BACKEND/state" 2\nexec sleep 1000\n' >my-backend
chmod +x test go-program my-driver-test my-backend
PATH="$(dirname "$sim"):$(dirname "$disk"):$PATH"
{
  sed -n '/^## The simulator/,/^## /p' "$top/README.md" | sed -n '/^```sh/,/^```/p'
  "$sim" --help | sed -n '/^Examples:/,$p' | grep ' run '
  "$sim" run --help | sed -n '/^Examples:/,$p'
} | sed -n 's/^ *\(xenpv-sim .*\)/\1/p' | sed 's/  *#.*//' >list
expect_line "there are examples" '^1[0-9]$' "$(grep -c . list)"
while read -r line; do
  case $line in
    *qemu-real*) continue ;;  # needs QEMU: interop.qemu_backend
    *--intercept-syscalls*) continue ;;  # needs Linux 5.19: interop.static_program
  esac
  expect "example: $line" 0 "$(status_of sh -c "$line" </dev/null)"
done <list
passed
