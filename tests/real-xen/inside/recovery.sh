# Functions for recovery scenarios: serve and mount a disk, run a verifying workload, check the
# results. A scenario sources this file only inside the domains, because run.sh also sources the
# scenario, to read its variables.

mount_point=/mnt/disk
# The kernel device of the mounted disk.
disk_device=nbd0

# serve_and_mount: serves xvdb, connects nbd-client and mounts the disk; sets `server`.
serve_and_mount() {
  modprobe nbd
  xenpv-disk serve xvdb --take ${serve_options:-} >"$results/serve.out" 2>"$results/serve.log" &
  server=$!
  check serve.ready awaits 30 grep -q nbd-client "$results/serve.out"
  check serve.connect bash -c "$(grep nbd-client "$results/serve.out")"
  check mkfs mkfs.ext4 -q -F /dev/nbd0
  mount_disk /dev/nbd0
}

# mount_disk DEVICE: mounts the device and copies files to it, for a later comparison.
mount_disk() {
  mkdir -p $mount_point
  check mount mount "$1" $mount_point
  cp -a $xen_directory $mount_point/
  sync
}

# start_load: repeatedly writes and verifies a file in the background; sets `load`. The file
# `rounds` contains the number of completed rounds.
start_load() {
  echo 0 >"$results/rounds"
  keep_loading &
  load=$!
}

keep_loading() {
  local round
  for ((round = 1; ; round++)); do
    fio --name=load --directory=$mount_point --size=32M --bs=16k --rw=randwrite --direct=1 --ioengine=libaio \
      --iodepth=16 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed="$round" --thread \
      --output="$results/fio.log" || return 1
    echo "$round" >"$results/rounds"
    [[ ! -e $results/enough ]] || return 0
  done
}

# ask_again: Linux freezes all processes before a save, and aborts if a process or kernel thread
# waits for a disk whose server is already frozen. The toolstack is not notified and waits for a
# minute, so the guest requests the suspend again. Sets `asking`; the file `failed-freezes` has one
# line per abort.
ask_again() {
  echo 1000 >/sys/power/pm_freeze_timeout
  : >"$results/failed-freezes"
  dmesg --follow-new | grep --line-buffered 'do_suspend: freeze' | while read -r line; do
    echo "$line" >>"$results/failed-freezes"
    sleep 0.3
    xenstore-write control/shutdown suspend
  done &
  asking=$!
}

end_load() {
  touch "$results/enough"
  check load.verified wait "$load"
  value load.rounds "$(<"$results/rounds")"
}

# recovery_figure NAME: prints a number from the status's recovery section.
recovery_figure() { xenpv-disk status --json | grep -o "\"$1\": *[0-9]*" | head -n 1 | grep -o '[0-9]*$'; }

has_recovered() { # TIMES
  [[ $(recovery_figure reconnects) -ge $1 ]]
}

# Prints the number of sectors read plus written, because the load may be reading or writing.
moved() { awk '{ print $3 + $7 }' /sys/block/$disk_device/stat; }

has_moved_more() { # SECTORS
  [[ $(moved) -gt $(($1 + 256)) ]]
}

# goes_on NAME TIMES: checks that the disk has reconnected TIMES times and that I/O continues, and
# records the pause's length.
goes_on() {
  local before
  check "$1.back" awaits 90 has_recovered "$2"
  before=$(moved)
  check "$1.goes_on" awaits 60 has_moved_more "$before"
  echo "$1 $(($(recovery_figure last_pause_ns) / 1000000))" >>"$results/pauses"
}

# tell_pauses: reports the values pause.median and pause.longest, in milliseconds.
tell_pauses() {
  local sorted
  mapfile -t sorted < <(awk '{ print $2 }' "$results/pauses" | sort -n)
  value pause.median "${sorted[$((${#sorted[@]} / 2))]}"
  value pause.longest "${sorted[-1]}"
}

# files_are_whole DEVICE: checks the copied files, bypassing the page cache, and the file system.
files_are_whole() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
  check files.compare diff -r --no-dereference $xen_directory $mount_point/${xen_directory##*/}
  check files.umount umount $mount_point
  check files.fsck e2fsck -fn "$1"
}

sum() { dd if="$1" bs=1M count="$2" iflag=direct status=none | sha256sum; }

stop_server() {
  check nbd.disconnect nbd-client -d /dev/nbd0
  kill -TERM "$server"
  check serve.end wait "$server"
}

tell_complaints() {
  # xs_request_exit: if a suspend interrupts xenstore-read in a transaction, the kernel ends the
  # transaction when the file is closed, and warns because the transaction no longer exists.
  value kernel_complaints "$(dmesg | grep -v 'WARNING: .* xs_request_exit' |
    grep -Ec 'BUG|WARNING|Oops|I/O error|EXT4-fs (error|warning)')"
}
