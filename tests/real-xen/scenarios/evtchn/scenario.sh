# Compares xenpv-evtchn with other sources of information about the same event channels:
# /proc/interrupts, and lsevtchn in domain 0. The PVH guest, unlike the PV guest, is allowed to make
# hypercalls, so its list must equal domain 0's list.
programs=(xenpv-evtchn xenpv-custodian)
places='dom0 pv pvh'
short_places=dom0
limit=420

lsevtchn=$(echo /usr/lib/xen-[0-9]*/bin/lsevtchn)

dom0_before() {
  kernel_parameters=
  if [[ $place == pvh ]]; then kernel_parameters=xen_privcmd.unrestricted=1; fi
}

# Handles the guest's requests to domain 0.
hypervisor() { ports_of "$guest"; }

# ports_of [DOMAIN]: Debian does not build lsevtchn for ARM.
ports_of() {
  if [[ -x $lsevtchn ]]; then
    "$lsevtchn" "$@"
  else
    xenpv-evtchn list ${1:+--domain "$1"} --lsevtchn
  fi
}

dom0_during() {
  hear ready >/dev/null
  ports_of "$guest" >"$results/lsevtchn.guest"
  check dom0.guests_ports diff "$results/lsevtchn.guest" <(xenpv-evtchn list --domain "$guest" --lsevtchn)
  xenpv-evtchn list --json >"$results/dom0-list.json" 2>/dev/null
  ports_of >"$results/lsevtchn.dom0"
  check dom0.ports diff "$results/lsevtchn.dom0" <(xenpv-evtchn list --lsevtchn)
  xenpv-evtchn list --csv >"$results/dom0-list.csv" 2>/dev/null
  check dom0.back_ends back_ends_are_named
  tell compared yes
  answer hypervisor
}

# Prints domain 0's list for this guest; xenstore-read escapes newlines as \n.
ports_of_guest() { ask ports | sed 's/\\n/\n/g'; }

# Checks that every blkback channel belongs to a disk of this guest.
back_ends_are_named() {
  awk -F, -v guest="$guest" '$5 == "blkif-backend" {
    rows++
    if ($12 !~ "^/local/domain/" guest "/device/vbd/" || $8 != guest || $9 == "") { print; bad++ }
  } END { print rows, "rows"; exit bad || !rows }' "$results/dom0-list.csv"
}

# Prints the kernel's event channels as "IRQ NAME".
kernel_rows() {
  awk 'NR == 1 { cpus = NF; next } $(cpus + 2) ~ /^xen-/ { sub(":", "", $1); print $1, $NF }' /proc/interrupts
}

# Prints the event channels in the CSV output in the same format.
listed_rows() { awk -F, 'NR > 1 && $1 != "" { print $1, $5 }' "$results/list.csv"; }

# Prints the CSV output in the format of lsevtchn.
as_lsevtchn() {
  tr -d '\r' <"$results/list.csv" | awk -F, 'NR > 1 && $2 != "" {
    text = "IPI"
    if ($6 == "virq") text = "Virtual IRQ " $10
    if ($6 == "pirq") text = "Physical IRQ " $11
    if ($6 == "unbound") text = "Interdomain (Waiting connection) - Remote Domain " $8
    if ($6 == "interdomain") text = "Interdomain (Connected) - Remote Domain " $8 ", Port " $9
    printf "%4d: VCPU %d: %s\n", $2, $7, text
  }' | sort -n
}

# Checks that every port in the list is connected, and bound to the CPU that the kernel reports.
ports_agree() { # LSEVTCHN
  tr -d '\r' <"$results/list.csv" | awk -F, '
    FNR == NR { sub(":", "", $0); split($0, words, " "); vcpu[words[1]] = words[3] + 0; next }
    FNR > 1 && $2 != "" { ports++; if (!($2 in vcpu) || vcpu[$2] != $18) { print $1, $2, vcpu[$2], $18; bad++ } }
    END { print ports, "ports"; exit bad || ports < 8 }' <(tr ',' ' ' <"$1") -
}

listed() {
  xenpv-evtchn list >"$results/list.txt" 2>"$results/list.err"
  xenpv-evtchn list --csv >"$results/list.csv" 2>/dev/null
  check list.rows diff <(kernel_rows) <(listed_rows)
  xenpv-evtchn list --json >"$results/list.json" 2>/dev/null
  case $place in
    dom0)
      check list.is_lsevtchn diff <(ports_of) <(as_lsevtchn)
      check list.sources grep -q '^sources: hypervisor, xenstore, proc' "$results/list.err"
      value list.without_port "$(awk -F, 'NR > 1 && $2 == ""' "$results/list.csv" | wc -l)"
      ;;
    pv)
      ports_of_guest >"$results/lsevtchn"
      check list.ports ports_agree "$results/lsevtchn"
      check list.sources grep -q 'xen_privcmd.unrestricted=1' "$results/list.err"
      ;;
    pvh)
      ports_of_guest >"$results/lsevtchn"
      check list.ports ports_agree "$results/lsevtchn"
      check list.is_lsevtchn diff "$results/lsevtchn" <(as_lsevtchn)
      check list.sources grep -q '^sources: hypervisor, xenstore, proc' "$results/list.err"
      ;;
  esac
}

pinged() { # NAME COUNT OPTION...
  local name=$1 count=$2
  shift 2
  check "$name" xenpv-evtchn ping --count "$count" "$@" --svg "$results/$name.svg"
  xenpv-evtchn ping --count $((count / 3)) "$@" --json >"$results/$name.json" 2>"$results/$name.err"
  value "$name.pairs" "$(grep -c '"verdict": "verified"' "$results/$name.json")"
}

# count IRQ CPU
count() { awk -v irq="$1:" -v column="$(($2 + 2))" '$1 == irq { print $column }' /proc/interrupts; }

irq_of() { awk -v name="$1" '$NF == name { sub(":", "", $1); print $1; exit }' /proc/interrupts; }

# Checks, without xenpv-evtchn, that IRQ's events arrive only on CPU 1.
comes_to_1() { # IRQ
  local on0 on1
  on0=$(count "$1" 0) on1=$(count "$1" 1)
  sleep 3
  echo "CPU 0: $on0 to $(count "$1" 0); CPU 1: $on1 to $(count "$1" 1)"
  [[ $(count "$1" 0) -eq $on0 && $(count "$1" 1) -gt $on1 ]]
}

balanced() {
  local pinger talker user kernel
  # Keep two channels on CPU 0 busy: one channel of a process and one of the kernel.
  xenpv-evtchn ping --from 0 --to 0 --count 100000000 >/dev/null 2>&1 &
  pinger=$!
  # Use the kernel's xenstore ring even in domain 0, which also has a socket.
  while :; do XENSTORED_PATH=/dev/xen/xenbus xenstore-read domid; done >/dev/null 2>&1 &
  talker=$!
  sleep 2
  check affinity.kernel xenpv-evtchn affinity xenbus 0 --interval 3s
  kernel=$(irq_of xenbus)
  check balance.spread xenpv-evtchn balance --apply --interval 10s --json
  value balance.moves "$(grep -c '"verdict": "proven"' "$results/balance.spread.log")"
  check balance.pin xenpv-evtchn balance --apply --interval 3s --policy 'pin:xenbus=1;evtchn:xp*=1'
  # The second policy moves only channels that the first policy did not move to CPU 1.
  user=$(awk '$NF ~ /^evtchn:xp/ { sub(":", "", $1); print $1; exit }' /proc/interrupts)
  check balance.kernel_came comes_to_1 "$kernel"
  check balance.user_came comes_to_1 "$user"
  kill "$talker" "$pinger"
  wait "$pinger"
}

refused() {
  local status=0
  # On ARM, timer and IPIs are not event channels.
  if ! grep -q ' timer0$' /proc/interrupts; then
    skip affinity.timer "no per-CPU event channel"
    skip affinity.message "no per-CPU event channel"
    return
  fi
  xenpv-evtchn affinity timer0 1 >"$results/refused.log" 2>&1 || status=$?
  value affinity.timer "$status"
  check affinity.message grep -q 'refused, .*a per-CPU channel cannot move' "$results/refused.log"
}

captured() {
  mkdir -p /tmp/captured
  xenpv-evtchn capture - | tar -x -C /tmp/captured
  xenpv-evtchn capture "$results/capture.tar"
  check capture.list diff <(listed_rows) \
    <(xenpv-evtchn list --root /tmp/captured/xenpv-capture --csv 2>/dev/null | awk -F, 'NR > 1 && $1 != "" { print $1, $5 }')
}

main() {
  if [[ $place != dom0 ]]; then
    tell ready yes
    hear compared >/dev/null
  fi
  listed
  pinged ping.block 300
  # QEMU emulates the CPUs in turn, so each CPU spins for its whole turn.
  pinged ping.spin 60 --spin
  balanced
  refused
  echo "$place: $SECONDS s before the capture"
  captured
  value watch.lines "$(xenpv-evtchn watch --interval 1s --iterations 3 --json | wc -l)"
  [[ $place == dom0 ]] || ask over
}
