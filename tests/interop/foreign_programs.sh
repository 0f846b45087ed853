#!/usr/bin/env bash
# foreign_programs.sh XENPV_SIM XENPV_EVTCHN [PIECE]: runs unmodified Xen programs in the simulator, and compares
# their output with the known output. If a program needs a feature that is not simulated, its error message is
# part of the expectation. Without PIECE, runs all pieces; exits with status 77 if none can run.
set -euo pipefail
pieces='vchan lsevtchn xen_detect xl xl_info xenconsole xenconsoled python_xs python_xc pyxs xen_9pfsd examples'

if [ $# -eq 2 ]; then
  ran=0
  for piece in $pieces; do
    status=0
    output=$("$0" "$1" "$2" "$piece" 2>&1) || status=$?
    echo "$piece: $output"
    case $status in
      0) ran=$((ran + 1)) ;;
      77) ;;
      *) exit "$status" ;;
    esac
  done
  [ "$ran" -gt 0 ] || exit 77
  exit
fi

. "$(dirname "$0")/check.sh"
evtchn=$2 piece=$3
here=$(cd "$(dirname "$0")" && pwd)

# The programs of the newest Xen release that is installed. Debian's wrappers in /usr/sbin select the release
# that /sys/hypervisor/version names, so the simulator must have the same.
programs=$(printf '%s\n' /usr/lib/xen-4.*/bin | sort -V | tail -n 1)
version=${programs#/usr/lib/xen-}
version=${version%/bin}

# program NAME: sets `program` to its path, or skips the piece
program() {
  program=$programs/$1
  [ -x "$program" ] || { echo "skipped: $1 is not installed (package xen-utils-4.17 or -4.20)"; exit 77; }
}

start_host() {
  [ "$programs" != '/usr/lib/xen-4.*/bin' ] || version=4.17
  "$sim" start --dir "$host" --xen "$version" "$@"
}

# exec_in DOMAIN CMD...: for background processes, so that $! is the process ID of CMD
exec_in() {
  local domain=$1
  shift
  exec "$sim" exec --dir "$host" --domain "$domain" -- "$@"
}

# without_lines TEXT: removes the line numbers of C sources, which differ between releases
without_lines() { sed -E 's/\.c:[0-9]+:/.c:/' <<<"$1"; }

# Both roles, in a guest and in domain 0.
vchan() {
  requires python3
  program vchan-socket-proxy
  start_host
  local server client path
  while read -r server client path; do
    rm -f "$dir"/*.sock
    "$here/vchan_transfer.py" "$dir/server.sock" "$dir/client.sock" >"$dir/result" 2>&1 &
    local transfer=$!
    wait_for "the listening socket" test -S "$dir/server.sock"
    exec_in "$server" "$program" --mode=server "$client" "$path" "$dir/server.sock" 2>"$dir/server.log" &
    local proxies=$!
    exec_in "$client" "$program" --mode=client "$server" "$path" "$dir/client.sock" 2>"$dir/client.log" &
    proxies="$proxies $!"
    wait "$transfer" || true
    expect "the server in domain $server, the client in domain $client" \
      $'to the server: equal\nto the client: equal' "$(cat "$dir/result")"
    # The proxies may have exited already. The unquoted lists are split into process IDs.
    # shellcheck disable=SC2086
    kill $proxies 2>/dev/null || true
    # shellcheck disable=SC2086
    wait $proxies 2>/dev/null || true
  done <<'ROLES'
1 0 /local/domain/1/data/vchan
0 1 /local/domain/0/data/vchan/1
ROLES
}

# Without XENPV_ROOT, xenpv-evtchn treats the simulated hypervisor as a real one.
listed() { in_domain 0 env -u XENPV_ROOT "$evtchn" list --lsevtchn "$@"; }

lsevtchn() {
  requires python3
  program lsevtchn
  start_host
  local for_guest left right
  coproc holder { exec_in 0 python3 "$here/hold_ports.py" 1; }
  read -r -t 20 for_guest left right <&"${holder[0]}"
  local ports
  ports=$(in_domain 0 "$program")
  expect "domain 0's ports are those of xenpv-evtchn" "$(listed)" "$ports"
  expect_line "an unbound port" "^ +$for_guest: VCPU 0: Interdomain \(Waiting connection\) - Remote Domain 1\$" "$ports"
  expect_line "one end" "^ +$left: VCPU 0: Interdomain \(Connected\) - Remote Domain 0, Port $right\$" "$ports"
  expect_line "the other end" "^ +$right: VCPU 0: Interdomain \(Connected\) - Remote Domain 0, Port $left\$" "$ports"
  expect "a guest's ports are those of xenpv-evtchn" "$(listed --domain 1)" "$(in_domain 0 "$program" 1)"
  expect "a guest may not make hypercalls" $'xc_evtchn_status: Operation not permitted\n1' \
    "$(in_domain 1 "$program" 1 2>&1 || echo $?)"
  # Without an argument, lsevtchn lists the ports of domain 0.
  expect_line "unless the simulator allows them" '^ +1: VCPU 0: ' \
    "$("$sim" run --guest-hypercalls -- "$program" 1 2>/dev/null)"
  local pid=$holder_PID input=${holder[1]}
  exec {input}>&-
  wait "$pid"
}

xen_detect() {
  requires xen-detect
  start_host
  expect "domain 0" "Running in PV context on Xen V$version." "$(in_domain 0 xen-detect)"
  expect "a guest" "Running in PVH context on Xen V$version." "$(in_domain 1 xen-detect)"
  expect "the exit status for another type" 1 "$(status_of in_domain 1 xen-detect --pv)"
}

# xl asks for the number of CPUs (sysctl physinfo) first, complains that it is missing, and continues.
no_cpus='libxl: error: libxl_utils.c:libxl_cpu_bitmap_alloc: failed to retrieve the maximum number of cpus'

xl() {
  program xl
  start_host --domains 2 --disk xvdb,memory=1M
  expect "list" \
    $'Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0   256     1     r-----       0.0
guest-1                                      1   256     1     r-----       0.0
guest-2                                      2   256     1     r-----       0.0' "$(in_domain 0 "$program" list 2>/dev/null)"
  expect "the complaints" "$no_cpus" "$(without_lines "$(in_domain 0 "$program" list 2>&1 >/dev/null)" | sort -u)"
  expect "domid" 2 "$(in_domain 0 "$program" domid guest-2 2>/dev/null)"
  expect "domname" guest-1 "$(in_domain 0 "$program" domname 1 2>/dev/null)"
  # libxl looks for disks below /libxl/1/device/vbd, where the simulated toolstack does not write.
  expect "block-list finds no disk" 'Vdev  BE  handle state evt-ch ring-ref BE-path                       ' \
    "$(in_domain 0 "$program" block-list 1 2>/dev/null)"
  expect_line "pause is not simulated" 'Domain 1:Pausing domain: Function not implemented' \
    "$(in_domain 0 "$program" pause 1 2>&1)"
  expect_line "a guest may not list domains" 'getting domain info list: Operation not permitted' \
    "$(in_domain 1 "$program" list 2>&1 || true)"
  expect "and gets an error" 1 "$(status_of in_domain 1 "$program" list)"
}

xl_info() {
  program xl
  local output
  # `run` prints the log of the host, which names each missing call once.
  output=$("$sim" run --xen "$version" --domain 0 -- "$program" info 2>"$dir/stderr")
  expect "the lines before the first missing call" "host                   : $(uname -n)
release                : $(uname -r)
version                : $(uname -v)
machine                : $(uname -m)
xend_config_format     : 4" "$output"
  local errors
  errors=$(without_lines "$(cat "$dir/stderr")")
  expect_line "no physinfo" 'libxl_get_physinfo: getting physinfo: Function not implemented$' "$errors"
  expect_line "no scheduler" 'libxl_get_scheduler: getting current scheduler id: Function not implemented$' "$errors"
  expect "the host names the missing sysctl once" 1 \
    "$(grep -c 'hypercall 35, command 3, is not simulated and fails with ENOSYS' "$dir/stderr")"
}

# Guests have no console, so xenconsole waits 5 seconds for a terminal.
xenconsole() {
  program xenconsole
  start_host
  expect "no terminal" $'xenconsole: Could not read tty from store: No such file or directory\n2' \
    "$(in_domain 0 "$program" 1 2>&1 </dev/null || echo $?)"
  program xl
  expect_line "xl console" '^xenconsole: Could not read tty from store: ' \
    "$(in_domain 0 "$program" console 1 2>&1 </dev/null || true)"
}

# xenconsoled finds the guests, but neither a grant of their console pages nor foreign mappings.
xenconsoled() {
  program xenconsoled
  start_host
  exec_in 0 "$program" -i --log=none --pid-file="$dir/xenconsoled.pid" >"$dir/xenconsoled.log" 2>&1 &
  local daemon=$!
  wait_for "the attempt to map a console" grep -q '^gnttab: error: mmap failed: Invalid argument$' \
    "$dir/xenconsoled.log"
  checks=$((checks + 1))
  expect "it keeps running" 0 "$(status_of kill -0 "$daemon")"
  expect "the guest gets no terminal" "" "$(in_domain 0 xenstore-read /local/domain/1/console/tty)"
  kill "$daemon"
}

# python_with MODULE: sets `python` to an interpreter that can import it, or skips the piece
python_with() {
  export PYTHONPATH=$programs/../lib/python
  for python in python3 /usr/bin/python3; do
    if command -v "$python" >/dev/null && "$python" -c "import $1" 2>/dev/null; then return; fi
  done
  echo "skipped: the Python module $1 is not installed (package $2)"
  exit 77
}

python_xs() {
  python_with xen.lowlevel.xs 'xen-utils-4.17 or -4.20'
  start_host
  expect "a guest" $'b\'1\' /local/domain/1
b\'value\' [\'node\']
[\'data/python\', \'token\']
None' "$(in_domain 1 "$python" - <<'PYTHON'
import xen.lowlevel.xs
store = xen.lowlevel.xs.xs()
print(store.read("", "domid"), store.get_domain_path(1))
transaction = store.transaction_start()
store.write(transaction, "data/python/node", "value")
store.transaction_end(transaction)
print(store.read("", "data/python/node"), store.ls("", "data/python"))
store.watch("data/python", "token")
print(list(store.read_watch()))
store.rm("", "data/python")
print(store.read("", "data/python/node"))
PYTHON
)"
  expect "domain 0" "[{'dom': 1, 'read': 0, 'write': 0}]" "$(in_domain 0 "$python" -c '
import xen.lowlevel.xs
print(xen.lowlevel.xs.xs().get_permissions("", "/local/domain/1/data"))')"
}

python_xc() {
  python_with xen.lowlevel.xc 'xen-utils-4.17 or -4.20'
  start_host --domains 2
  local list='
import xen.lowlevel.xc
calls = xen.lowlevel.xc.xc()
print([(domain["domid"], domain["hvm"]) for domain in calls.domain_getinfo()])
calls.physinfo()'
  expect "the domains in domain 0" '[(0, 0), (1, 1), (2, 1)]' "$(in_domain 0 "$python" -c "$list" 2>"$dir/stderr" || true)"
  expect_line "no physinfo" "Error: \(38, 'Function not implemented'\)" "$(cat "$dir/stderr")"
  expect_line "no hypercalls in a guest" "Error: \(1, 'Operation not permitted'\)" \
    "$(in_domain 1 "$python" -c "$list" 2>&1 || true)"
}

# Through /dev/xen/xenbus, where pyxs does not support watches, and through xenstored's socket.
pyxs() {
  python_with pyxs python3-pyxs
  start_host
  local script='
import sys, pyxs, pyxs.connection
device = sys.argv[1] == "device"
connection = (pyxs.connection.XenBusConnection("/dev/xen/xenbus") if device
              else pyxs.connection.UnixSocketConnection())
with pyxs.Client(router=pyxs.Router(connection)) as client:
    client.write(b"/local/domain/1/data/pyxs", b"value")
    print(client.read(b"domid"), client.read(b"/local/domain/1/data/pyxs"))
    if not device:
        monitor = client.monitor()
        monitor.watch(b"/local/domain/1/data/pyxs", b"token")
        print(tuple(next(monitor.wait())))'
  local domain
  for domain in 0 1; do
    expect "domain $domain through the device" "b'$domain' b'value'" \
      "$(in_domain "$domain" "$python" -c "$script" device 2>&1)"
    expect "domain $domain through the socket" "b'$domain' b'value'
(b'/local/domain/1/data/pyxs', b'token')" "$(in_domain "$domain" "$python" -c "$script" socket 2>&1)"
  done
}

xen_9pfsd() {
  program xen-9pfsd
  start_host
  exec_in 0 "$program" &
  local daemon=$!
  wait_for "the state of the daemon" in_domain 0 xenstore-exists libxl/xen-9pfs/state
  expect "the state" running "$(in_domain 0 xenstore-read libxl/xen-9pfs/state)"
  kill "$daemon"
}

# listing NAME: prints an example as the manual page shows it
listing() {
  sed -n "/^\\.\\\\\" $1\$/,/^\\.fi\$/p" "$here/../../packaging/man/xenpv-sim-testing.7" |
    sed -e '/^\./d' -e 's/\\-/-/g; s/\\(aq/'\''/g; s/\\(ha/^/g; s/\\&//g; s/\\e/\\/g'
}

# The programs in the manual page xenpv-sim-testing(7).
examples() {
  local source="$here/../../apps/examples" domain
  requires python3
  start_host
  for domain in 0 1; do
    expect_line "event_loopback.py in domain $domain" '^received 1000 events$' \
      "$(in_domain "$domain" python3 "$source/event_loopback.py")"
  done
  expect "the listing of event_loopback.py" "$(cat "$source/event_loopback.py")" "$(listing event_loopback.py)"
  expect "the listing of foreign_driver.c" "$(expand -t 4 "$source/foreign_driver.c")" "$(listing foreign_driver.c)"
  if command -v gcc >/dev/null && command -v pkg-config >/dev/null && pkg-config --exists xenevtchn xengnttab xenstore; then
    # shellcheck disable=SC2046  # split into flags
    gcc -Wall -Werror -o "$dir/foreign_driver" "$source/foreign_driver.c" $(pkg-config --libs xenevtchn xengnttab xenstore)
    ln -s "$sim" "$dir/xenpv-sim"
    expect "test_foreign_driver.sh" ok "$(PATH=$dir:$PATH "$source/test_foreign_driver.sh" "$dir/foreign_driver")"
  fi
}

case " $pieces " in
  *" $piece "*) "$piece" ;;
  *) echo "foreign_programs.sh: unknown piece: $piece" >&2 && exit 2 ;;
esac
passed
