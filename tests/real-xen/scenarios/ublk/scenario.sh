# A disk becomes a block device of the kernel's ublk driver: data, durability, partitions, resizing,
# a killed server, a server that is replaced under a mounted file system, and save and restore.
programs=(xenpv-disk xenpv-custodian)
short_places='pv'
limit=600
memory=640

mib=$((1 << 20))
saves=3
[[ -z ${XENPV_INSIDE:-} ]] || source "$XENPV_INSIDE/recovery.sh"

# sum DEVICE MIB [SKIP]: prints a checksum of a part of the device. An emulated guest computes MD5
# several times faster than SHA-256.
sum() { dd if="$1" bs=1M count="$2" skip="${3:-0}" iflag=direct status=none | md5sum; }

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  file_disk /dev/loop1 /tmp/xvdc.img 128M
  dd if=/dev/urandom of=/dev/ram2 bs=1M count=32 oflag=direct status=none
  disk xvdb /dev/loop0 w
  disk xvdc /dev/loop1 w
  disk xvdd /dev/ram1 w
  disk xvde /dev/ram2 r
}

# Handles the guest's requests to its toolstack.
toolstack() {
  case $1 in
    sum) sum "${@:2}" ;;
    resize) truncate -s "$2" /tmp/xvdc.img && losetup -c /dev/loop1 ;;
    *) return 2 ;;
  esac
}

dom0_during() {
  local number
  answer toolstack
  hear ready
  for ((number = 1; number <= saves; number++)); do
    { xl save "$place" /tmp/saved && xl restore /tmp/saved; } ||
      fail "save-$number" "see dom0-during.log for xl's messages"
    rm -f /tmp/saved
    guest=$(xl domid "$place")
    hear "went-on-$number"
  done
  same last.sum "$(hear sum)" "$(sum /dev/loop0 128)"
  tell sum-seen yes
}

# attach NAME DISK [OPTION...]: attaches the disk in the background; sets `device` and `server`.
attach() {
  local name=$1
  shift
  if ! device=$(xenpv-disk attach --background "$@" 2>"$results/$name.attach.log"); then
    fail "$name.attach" "$(tail -n 1 "$results/$name.attach.log")"
    return 1
  fi
  pass "$name.attach" "$device"
  server=$(xenpv-disk status --json | jq '.disks[0].pid')
}

process_status() { awk -v name="$2:" '$1 == name { print $2 }' "/proc/$1/status"; }

# In `auto`, the driver that is loaded is used. The server has no privileges left.
with_flush() {
  local seen
  attach flush xvdb --take || return
  value attach.device "$device"
  value flush.write_cache "$(tr ' ' '?' <"/sys/block/${device##*/}/queue/write_cache")"
  value flush.driver "$(xenpv-disk status --json | jq -r '.disks[0].kernel_driver')"
  check flush.status grep -Eq "xvdb: connected.*, $device: [0-9]+ queues of [0-9]+ requests of up to" \
    <(xenpv-disk status)
  value server.capabilities "$(process_status "$server" CapEff)"
  value server.no_new_privileges "$(process_status "$server" NoNewPrivs)"
  value server.seccomp "$(process_status "$server" Seccomp)"
  mkdir -p $mount_point
  check flush.mkfs mkfs.ext4 -q -F "$device"
  check flush.mount mount "$device" $mount_point
  check flush.copy cp -a "$xen_directory" $mount_point/
  value detach.mounted "$(status_of xenpv-disk detach "$device")"
  says detach.mounted_message "it is mounted on $mount_point"
  sync
  check flush.umount umount $mount_point
  check flush.fsck e2fsck -fn "$device"
  check flush.trim blkdiscard -o $((64 * mib)) -l $((16 * mib)) "$device"
  seen=$(sum "$device" 128)
  check flush.detach xenpv-disk detach xvdb
  check flush.removed test ! -e "/sys/block/${device##*/}"
  value detach.nothing "$(status_of xenpv-disk detach xvdb)"
  same flush.sum "$seen" "$(ask sum /dev/loop0 128)"
  # The kernel's log has the calls that the filter denied.
  value server.denied "$(dmesg | grep -c 'denied\|type=1326')"
}

# Linux before 6.16 cannot change the size of the device; the new size needs a new device.
resized() {
  local seen
  xenpv-disk attach xvdc --take --driver ublk >"$results/resize.out" 2>"$results/resize.log" &
  server=$!
  check resize.ready awaits 30 grep -q /dev/ublkb "$results/resize.out"
  device=$(<"$results/resize.out")
  check resize.dom0 ask resize 192M
  if awaits 20 grep -q 'this kernel cannot change the size of a ublk device' "$results/resize.log"; then
    pass resize.reported
  else
    check resize.reported awaits 5 grep -q "resized to $((192 * mib)) bytes" "$results/resize.log"
  fi
  kill -TERM "$server"
  check resize.end wait "$server"
  attach resized xvdc || return
  value resized.size "$(blockdev --getsize64 "$device")"
  dd if=/dev/urandom of="$device" bs=1M seek=160 count=32 oflag=direct status=none
  seen=$(sum "$device" 32 160)
  check resized.detach xenpv-disk detach "$device"
  same resized.sum "$seen" "$(ask sum /dev/loop1 32 160)"
}

without_flush() {
  local seen
  attach plain xvdd --take || return
  value plain.write_cache "$(tr ' ' '?' <"/sys/block/${device##*/}/queue/write_cache")"
  dd if=/dev/urandom of="$device" bs=64K count=1024 oflag=direct status=none
  dd if=/dev/zero of="$device" bs=4K count=1 oflag=direct status=none
  partition "$device"
  sync
  seen=$(sum "$device" 64)
  check plain.detach xenpv-disk detach xvdd
  same plain.sum "$seen" "$(ask sum /dev/ram1 64)"
  # The partition exists when attach returns.
  attach partition xvdd || return
  value partition.size "$(blockdev --getsize64 "${device}p1")"
  check partition.detach xenpv-disk detach xvdd
}

read_only() {
  attach reader xvde --take || return
  value reader.read_only "$(blockdev --getro "$device")"
  same reader.sum "$(sum "$device" 32)" "$(ask sum /dev/ram2 32)"
  check reader.detach xenpv-disk detach xvde
}

# Without --keep, the device disappears with its server, and its number is free again.
killed() {
  local first
  attach kill xvdd || return
  first=$device
  kill -KILL "$server"
  check kill.disappears awaits 30 test ! -e "/sys/block/${device##*/}"
  attach again xvdd || return
  value again.same_number "$([[ $device == "$first" ]] && echo yes || echo no)"
  same again.sum "$(sum "$device" 64)" "$(ask sum /dev/ram1 64)"
  check again.detach xenpv-disk detach "$device"
}

# start_server NAME: starts a server of the kept device; sets `server`.
start_server() {
  xenpv-disk attach xvdb --keep >"$results/$1.out" 2>"$results/$1.log" &
  server=$!
  check "$1.ready" awaits 90 grep -q '^/dev/ublkb0$' "$results/$1.out"
}

# replaced NAME SIGNAL: ends the server under load and starts another one.
replaced() {
  local before status=0
  sleep 3
  kill "-$2" "$server"
  wait "$server" || status=$?
  value "$1.status" "$status"
  start_server "$1"
  before=$(moved)
  check "$1.goes_on" awaits 60 has_moved_more "$before"
}

# No other server can write to the disk while its file system is mounted.
guarded() {
  value guarded.serve "$(status_of xenpv-disk serve xvdb)"
  says guarded.message 'already served by process'
}

kept_and_saved() {
  local number seen
  disk_device=ublkb0
  start_server first
  check mkfs mkfs.ext4 -q -F /dev/ublkb0
  mount_disk /dev/ublkb0
  ask_again
  start_load
  for number in 1 2; do replaced "killed-$number" KILL; done
  replaced upgraded TERM
  guarded
  tell ready yes
  for ((number = 1; number <= saves; number++)); do
    goes_on "save-$number" "$number"
    tell "went-on-$number" yes
  done
  end_load
  kill "$asking"
  tell_pauses
  files_are_whole /dev/ublkb0
  seen=$(sum /dev/ublkb0 128)
  check last.detach xenpv-disk detach xvdb
  check last.end wait "$server"
  check last.forgotten test ! -e /run/xenpv/xvdb.kept
  tell sum "$seen"
  hear sum-seen >/dev/null
}

main() {
  check module modprobe ublk_drv
  with_flush
  resized
  without_flush
  read_only
  killed
  ask over
  kept_and_saved
  tell_complaints
}
