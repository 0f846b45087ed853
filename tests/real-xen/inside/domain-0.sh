#!/bin/bash
# Runs in domain 0: starts the Xen daemons, runs scenarios and their guests one after another, and
# writes the results of each scenario to the third disk as a tar archive. Reports progress line by
# line on a virtio port:
#   next | begin PLACE | note PLACE TEXT | case PLACE VERDICT NAME TEXT | end PLACE SECONDS | finished
# The answer to "next", on another port, is the name of a scenario, or "over".
set -u
source "$XENPV_INSIDE/lib.sh"
source "$XENPV_INSIDE/run-main.sh"

# The guests may run a different release from domain 0.
guest_root=/mnt/guest
# Extra time for a guest's boot and shutdown on a busy machine.
boot_seconds=150
tries=5

# port_file NAME: prints the device file of a virtio port.
port_file() {
  local file
  for file in /sys/class/virtio-ports/*/name; do
    if [[ $(<"$file") == "$1" ]]; then
      file=${file%/name}
      echo "/dev/${file##*/}"
      return
    fi
  done
  echo "domain 0: the virtio port $1 is missing" >&2
}

open_ports() {
  modprobe virtio_console
  exec {results_port}>"$(port_file xenpv.results)" {orders_port}<"$(port_file xenpv.orders)"
}

send() {
  printf '%s\n' "$*" >&"$results_port"
}

start_xen() {
  mkdir -p /run/xen /run/xenstored /run/lock /var/lib/xen /var/lib/xenstored /var/log/xen/console
  modprobe xen-blkback
  xenstored
  "$xen_directory/bin/xen-init-dom0"
  xenconsoled --log=guest
}

# Removes disk images, so that a guest never sees data from an earlier guest.
renew_file_disks() {
  modprobe loop
  losetup -D
  rm -f /tmp/*.img
}

# file_disk DEVICE FILE SIZE: creates a loop device with a write cache; FILE is /tmp/NAME.img. Call
# it from dom0_before().
file_disk() {
  truncate -s "$3" "$2"
  losetup "$1" "$2"
}

# Reloads the RAM disk module: a guest must not see data from an earlier guest, and only unloading
# the module frees the memory. Sizes are in KiB. Memory is allocated on write.
renew_ram_disks() {
  local end=$((SECONDS + 30))
  while lsmod | grep -q '^brd ' && ! modprobe -r brd 2>/dev/null; do
    if [[ $SECONDS -ge $end ]]; then
      echo "domain 0: the RAM disks are still in use"
      return
    fi
    sleep 0.5
  done
  modprobe brd rd_nr=8 rd_size=262144
}

# disk VDEV TARGET r|w [phy|qdisk [OPTION...]]: adds a disk to the next guest. Call it from
# dom0_before(). The RAM disks /dev/ram1 to /dev/ram7 are available.
disk() {
  local backend=${4:-phy} line
  line="format=raw,vdev=$1,access=$3,backendtype=$backend"
  if [[ $backend == phy ]]; then line+=",script=$XENPV_INSIDE/block"; fi
  if [[ $# -gt 4 ]]; then line+=$(printf ',%s' "${@:5}"); fi
  # xl takes the rest of the line as the target, so the target must come last.
  disks+=("$line,target=$2")
}

# A place may end with the number of vCPUs: pv4 is a PV guest with four vCPUs.
write_config() {
  # hvm-intx is also an HVM guest, and pv-faults a PV guest: only the scenario interprets the part
  # after the dash.
  local file=$1 root_access=r entry type=${place%%-*} cpus kind kernel
  kind=${type%%[0-9]*}
  cpus=${type#"$kind"}
  # For an HVM guest, QEMU also emulates the disk as an IDE disk, which cannot be read-only. Like
  # all guests, the HVM guest mounts the disk read-only.
  if [[ $kind == hvm ]]; then root_access=w; fi
  # A scenario that sets `ramdisk` boots its own initramfs, which needs none of these disks.
  if [[ -z ${ramdisk:-} ]]; then
    disk "${root_vdev:-xvda}" /dev/vdd "$root_access"
    disk xvdy /dev/vdb r
  fi
  disk xvdz /dev/ram0 w
  {
    echo "name='$place'"
    echo "type='$kind'"
    echo "memory=${memory:-512}"
    echo "vcpus=${cpus:-${vcpus:-2}}"
    # Avoid CPU 0, on which all observed crashes of the SVM emulation occurred.
    echo "cpus='1-2'"
    # QEMU loads the kernel of an HVM guest, and accepts only a compressed kernel.
    if [[ $kind == hvm ]]; then kernel=vmlinuz; else kernel=vmlinux; fi
    echo "kernel='$guest_root/boot/$kernel'"
    echo "ramdisk='${ramdisk:-$guest_root/boot/initrd.cpio}'"
    echo "cmdline='console=hvc0 loglevel=4 panic=1 mitigations=off xenpv.root=xvda xenpv.run=xvdy" \
      "xenpv.place=$place xenpv.scenario=$scenario xenpv.init=${init:-script} ${kernel_parameters:-}'"
    # On this emulated host, "default" makes Xen emulate the TSC: each clock read traps into Xen,
    # which takes most of a PVH guest's time. On real hosts, Xen does not emulate the TSC.
    echo "tsc_mode='${tsc_mode:-native}'"
    echo "on_poweroff='destroy'"
    echo "on_reboot='destroy'"
    echo "on_crash='destroy'"
    if [[ $kind == hvm ]]; then
      echo "vga='none'"
      echo "serial='file:/var/log/xen/console/hvm-serial.log'"
    fi
    if [[ -n ${xl_options:-} ]]; then echo "$xl_options"; fi
    echo "disk=["
    for entry in "${disks[@]}"; do echo "  '$entry',"; done
    echo "]"
  } >"$file"
}

has() {
  declare -F "$1" >/dev/null
}

# Waits until the guest and dom0_during have ended. The guest may be absent for a while, between a
# save and the restore with a new domain ID.
await_guest() {
  local during=$1 end=$((SECONDS + limit + boot_seconds)) gone_since=
  while [[ $SECONDS -lt $end ]]; do
    sleep 2
    if xl domid "$place" >/dev/null 2>&1; then
      gone_since=
      continue
    fi
    if [[ -z $during ]] || ! kill -0 "$during" 2>/dev/null; then return 0; fi
    gone_since=${gone_since:-$SECONDS}
    if [[ $(triple_faults) -gt $faults ]]; then
      kill "$during"
      return 0
    fi
    if [[ $SECONDS -ge $((gone_since + 30)) ]]; then
      fail dom0_during "still running 30 s after the guest ended"
      kill "$during"
      return 0
    fi
  done
  fail guest "did not end within $((limit + boot_seconds)) s"
  xl list
  xl destroy "$place"
  if [[ -n $during ]]; then kill "$during" 2>/dev/null; fi
}

fetch_guest_results() {
  mkdir -p "$results/guest"
  if ! tar -xf /dev/ram0 -C "$results/guest" 2>/dev/null || [[ ! -e $results/guest/status ]]; then
    fail guest "ended without results; see console.log"
    return
  fi
  if [[ -e $results/guest/cases ]]; then cat "$results/guest/cases" >>"$results/cases"; fi
  rm -f "$results/guest/cases"
}

# Runs dom0_during alongside the guest and waits for both.
accompany_guest() {
  local during= status=0
  guest=$(xl domid "$place")
  export guest
  if has dom0_during; then
    timeout "$((limit + boot_seconds))" bash "$XENPV_INSIDE/call.sh" dom0_during \
      >"$results/dom0-during.log" 2>&1 &
    during=$!
  fi
  await_guest "$during"
  if [[ -n $during ]]; then
    wait "$during" || status=$?
    [[ $status -eq 0 ]] || fail dom0_during "exit status $status: $(tail -n 1 "$results/dom0-during.log")"
  fi
  fetch_guest_results
}

# Retries, because xl's fixed timeouts of 10 to 40 s for hotplug scripts and QEMU may be too short
# on a busy machine.
create_guest() {
  local try
  for ((try = 1; try <= tries; try++)); do
    if xl create -q "$results/xl.cfg"; then return 0; fi
    [[ $try -eq $tries ]] || send "note $place xl create failed: retrying"
    xl destroy "$place" 2>/dev/null
  done
  return 1
}

run_guest() {
  local log=/var/log/xen/console/guest-$place.log tail_pid
  disks=()
  rm -f /var/log/xen/*.log "$log" /var/log/xen/console/hvm-serial.log
  renew_ram_disks
  renew_file_disks
  if has dom0_before; then dom0_before || fail dom0_before "exit status $?"; fi
  write_config "$results/xl.cfg"
  : >"$log"
  tail -q -n +1 -f "$log" &
  tail_pid=$!
  if create_guest; then
    accompany_guest
    if has dom0_after; then dom0_after || fail dom0_after "exit status $?"; fi
  else
    fail guest "xl create failed"
  fi
  kill "$tail_pid"
  cp "$log" "$results/console.log"
  cp /var/log/xen/*"$place"* /var/log/xen/console/hvm-serial.log "$results/" 2>/dev/null
}

triple_faults() {
  xl dmesg | grep -c 'Triple fault'
}

# True if a bug in QEMU's SVM emulation killed the guest in this attempt: by a triple fault, or by an
# interrupt that entered the guest's kernel with user space's GS base.
was_killed_by_svm() {
  [[ $(triple_faults) -gt $faults ]] && return
  [[ $place != dom0 && $place != pv && $place != pv[0-9-]* ]] &&
    grep -q 'ENTRY_TRAMPOLINE stack guard page was hit' "$results/console.log" 2>/dev/null
}

run_place() {
  local start=$SECONDS line try faults
  export XENPV_PLACE=$place
  results=$all_results/$place
  export XENPV_RESULTS=$results
  send "begin $place"
  echo "real-xen: begin $scenario $place" >/dev/kmsg
  for ((try = 1; try <= tries; try++)); do
    mkdir -p "$results"
    : >"$results/cases"
    faults=$(triple_faults)
    if [[ $place == dom0 ]]; then
      run_main "$limit"
    else
      run_guest
    fi
    # QEMU's SVM emulation crashes about one in ten guests that need SVM, at any time. Programs in
    # the guest do not cause this: a crash caused by a program would occur again in the next try.
    if [[ $try -eq $tries ]] || ! was_killed_by_svm; then break; fi
    send "note $place the guest was killed by a known bug of the SVM emulation: retrying"
    mv "$results" "$results-died-$try"
  done
  while read -r line; do send "case $place $line"; done <"$results/cases"
  send "end $place $((SECONDS - start))"
}

# run_scenario: runs in a subshell, because scenarios define functions and variables.
run_scenario() (
  export XENPV_SCENARIO=/mnt/run/scenarios/$scenario/scenario.sh
  all_results=/results/$scenario
  rm -rf "$all_results"
  mkdir -p "$all_results"
  # shellcheck source=/dev/null
  source "$XENPV_SCENARIO"
  limit=${limit:-120}
  for place in ${places:-pv pvh}; do run_place; done
  dmesg >"$all_results/dom0-dmesg.log"
  xl dmesg >"$all_results/xen-dmesg.log"
  tar -cf /dev/vdc -C "$all_results" .
  sync
)

open_ports
mkdir -p "$guest_root"
mount -t ext4 -o ro,noload /dev/vdd "$guest_root"
start_xen
send next
while read -r -u "$orders_port" scenario && [[ $scenario != over ]]; do
  run_scenario
  send finished
  send next
done
