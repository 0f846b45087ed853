# A backend stalls for a minute under a mounted ext4 file system: the device below blkback is
# suspended, or QEMU is stopped. Writers pause and continue without an error, and the status shows
# the stall while it lasts.
programs=(xenpv-disk xenpv-custodian)
short_places=none
limit=600
memory=512

[[ -z ${XENPV_INSIDE:-} ]] || source "$XENPV_INSIDE/recovery.sh"

stall_seconds=60

# Prints the device's kernel name, because without udev there are no nodes in /dev/mapper.
stalled_device() { echo "/dev/$(dmsetup info -c --noheadings -o blkdevname stalled)"; }

dom0_before() {
  modprobe dm-mod
  dmsetup remove stalled 2>/dev/null
  dmsetup create stalled --noudevsync --table "0 262144 linear /dev/ram1 0" || return
  truncate -s 128M /tmp/xvdc.img
  disk xvdb "$(stalled_device)" w
  disk xvdc /tmp/xvdc.img w qdisk
}

# Frees the RAM disk, whose module is reloaded for the next guest.
dom0_after() {
  dmsetup resume stalled --noudevsync
  dmsetup remove stalled --noudevsync --retry
}

qemu() { pgrep -o -f -- "-xen-domid $guest( |$)"; }

toolstack() {
  case $1 in
    stop-xvdb) dmsetup suspend stalled --nolockfs --noflush --noudevsync ;;
    start-xvdb) dmsetup resume stalled --noudevsync ;;
    stop-xvdc) kill -STOP "$(qemu)" ;;
    start-xvdc) kill -CONT "$(qemu)" ;;
    sum-xvdb) sum "$(stalled_device)" 128 ;;
    sum-xvdc) sha256sum </tmp/xvdc.img ;;
    complaints) complaints 'BUG|WARNING|Oops|I/O error' ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

# keep_writing NUMBER: writes and syncs one file after another until an error.
keep_writing() {
  local round file
  for ((round = 0; ; round++)); do
    file=$mount_point/$1-$((round % 8))
    head -c $((64 * 1024)) /dev/urandom >/tmp/writer-"$1" || return
    dd if=/tmp/writer-"$1" of="$file" bs=16k conv=fsync status=none || return
    sha256sum </tmp/writer-"$1" >/tmp/sum-"$1-$((round % 8))"
    echo "$round" >/tmp/rounds-"$1"
    [[ ! -e /tmp/enough ]] || return 0
  done
}

written() { awk '{ all += $1 } END { print all + 0 }' /tmp/rounds-*; }
has_written() { [[ $(written) -ge $1 ]]; }
is_stalled() { xenpv-disk status --json | tr -d ' \n' | grep -Eq '"stalls":\{[^}]*"now":true'; }
is_not_stalled() { ! is_stalled; }

# files_are_written NAME: verifies the files, bypassing the page cache.
files_are_written() {
  local file
  sync
  echo 3 >/proc/sys/vm/drop_caches
  for file in "$mount_point"/[0-9]-[0-9]; do
    [[ $(sha256sum <"$file") == "$(</tmp/sum-"${file##*/}")" ]] || {
      fail "$1.files" "${file##*/} differs from the data written"
      return
    }
  done
  pass "$1.files"
}

# stalled NAME DISK
stalled() {
  local name=$1 disk=$2 device number writers=() before
  rm -f /tmp/rounds-* /tmp/sum-* /tmp/enough
  if ! device=$(xenpv-disk attach --background --take "$disk" 2>"$results/$name.attach.log"); then
    fail "$name.attach" "$(tail -n 1 "$results/$name.attach.log")"
    return
  fi
  check "$name.mkfs" mkfs.ext4 -q -F "$device"
  mkdir -p $mount_point
  check "$name.mount" mount "$device" $mount_point
  for number in 1 2 3 4; do
    echo 0 >"/tmp/rounds-$number"
    keep_writing "$number" 2>>"$results/$name.writers.log" &
    writers+=($!)
  done
  check "$name.writing" awaits 90 has_written 16
  check "$name.stop" ask "stop-$disk"
  # This does not wait for an event: the stall must last this long. It is reported after ten
  # seconds.
  sleep $((stall_seconds / 2))
  check "$name.status" is_stalled
  xenpv-disk status >"$results/$name.status" 2>&1
  check "$name.status_text" grep -qi stall "$results/$name.status"
  before=$(written)
  sleep $((stall_seconds / 2))
  value "$name.written_meanwhile" $(($(written) - before))
  check "$name.start" ask "start-$disk"
  check "$name.goes_on" awaits 90 has_written $((before + 16))
  check "$name.status_after" awaits 30 is_not_stalled
  touch /tmp/enough
  for number in "${writers[@]}"; do check "$name.writer" wait "$number"; done
  files_are_written "$name"
  check "$name.umount" umount $mount_point
  check "$name.fsck" e2fsck -fn "$device"
  before=$(sum "$device" 128)
  check "$name.detach" xenpv-disk detach "$disk"
  same "$name.sum" "$before" "$(ask "sum-$disk")"
}

main() {
  modprobe nbd
  stalled blkback xvdb
  stalled qemu xvdc
  value kernel_complaints "$(dmesg | grep -Ec 'BUG|WARNING|Oops|I/O error|EXT4-fs (error|warning)|timed out|blocked for more')"
  value dom0_complaints "$(ask complaints)"
  ask over
}
