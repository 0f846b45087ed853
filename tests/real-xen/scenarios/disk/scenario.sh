# The main use case: a disk is taken over from the kernel driver, served, and turned into a block
# device again, with nbd-client and with `attach`. Domain 0 reads the same data from the backend's
# disk.
programs=(xenpv-disk xenpv-custodian)
short_places='pv'
limit=600
memory=768

mib=$((1 << 20))
main_mib=128

random() { # TARGET MIB
  dd if=/dev/urandom of="$1" bs=1M count="$2" oflag=direct status=none
}

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img "${main_mib}M"
  file_disk /dev/loop1 /tmp/xvdc.img 128M
  random /dev/ram2 32
  random /dev/ram3 32
  disk xvdb /dev/loop0 w
  disk xvdc /dev/loop1 w
  disk xvdd /dev/ram1 w
  disk xvde /dev/ram2 r
  disk xvdf /dev/ram3 r phy devtype=cdrom
}

# Handles the guest's requests to its toolstack.
toolstack() {
  case $1 in
    sum) dd if="$2" bs=1M count="$3" iflag=direct status=none | md5sum ;;
    resize) truncate -s "$2" /tmp/xvdc.img && losetup -c /dev/loop1 ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

sum() { # DEVICE MIB
  dd if="$1" bs=1M count="$2" iflag=direct status=none | md5sum
}

# fill NAME DEVICE DIRECTORY: creates a file system with a copy of DIRECTORY, unmounts the file
# system and checks it.
fill() {
  mkdir -p /mnt/disk
  check "$1.mkfs" mkfs.ext4 -q -F "$2"
  check "$1.mount" mount "$2" /mnt/disk
  check "$1.copy" cp -a "$3" /mnt/disk/
  sync
  check "$1.umount" umount /mnt/disk
  check "$1.fsck" e2fsck -fn "$2"
}

# python_directory: prints a directory with about a thousand files of all sizes.
python_directory() { find /usr/lib -maxdepth 1 -name 'python3.*' | sort | tail -n 1; }

# compare NAME DEVICE DIRECTORY: compares a copy with DIRECTORY.
compare() {
  check "$1.mount" mount -o ro "$2" /mnt/disk
  check "$1.compare" diff -r --no-dereference "$3" "/mnt/disk/${3##*/}"
  check "$1.umount" umount /mnt/disk
}

served_by_nbd_client() {
  check list.shows_disks grep -Eq '^xvdb .* kernel ' <(xenpv-disk list)
  value serve.no_take "$(status_of xenpv-disk serve xvdb)"
  says serve.no_take_message 'the kernel driver is using it; use --take'
  xenpv-disk serve xvdb --take >"$results/serve.out" 2>"$results/serve.log" &
  local server=$!
  check serve.ready awaits 30 grep -q nbd-client "$results/serve.out"
  # Run the printed nbd-client command.
  check serve.connect bash -c "$(grep nbd-client "$results/serve.out")"
  check serve.device awaits 10 test -e /sys/block/nbd0/pid
  fill serve /dev/nbd0 "$(python_directory)"
  local seen
  seen=$(sum /dev/nbd0 $main_mib)
  check serve.disconnect nbd-client -d /dev/nbd0
  kill -TERM "$server"
  check serve.end wait "$server"
  same serve.sum "$seen" "$(ask sum /dev/loop0 $main_mib)"
}

# attach NAME DISK [OPTION...]: attaches the disk in the background; sets `device`.
attach() {
  local name=$1
  shift
  if ! device=$(xenpv-disk attach --background "$@" 2>"$results/$name.attach.log"); then
    fail "$name.attach" "$(tail -n 1 "$results/$name.attach.log")"
    return 1
  fi
  pass "$name.attach" "$device"
}

attached_again() {
  attach flush xvdb || return
  value attach.device "$device"
  value flush.write_cache "$(tr ' ' '?' <"/sys/block/${device##*/}/queue/write_cache")"
  check flush.status grep -q "xvdb: connected.*, $device" <(xenpv-disk status)
  compare flush "$device" "$(python_directory)"
  local seen
  seen=$(sum "$device" $main_mib)
  check flush.detach xenpv-disk detach xvdb
  value detach.nothing "$(status_of xenpv-disk detach xvdb)"
  same flush.sum "$seen" "$(ask sum /dev/loop0 $main_mib)"
}

has_size() { [[ $(blockdev --getsize64 "$1") -eq $2 ]]; }

resized() {
  attach resize xvdc --take || return
  check resize.mkfs mkfs.ext4 -q -F "$device"
  mount "$device" /mnt/disk
  value detach.mounted "$(status_of xenpv-disk detach "$device")"
  says detach.mounted_message "it is mounted on /mnt/disk \($device\); use --force"
  check resize.dom0 ask resize 192M
  awaits 20 has_size "$device" $((192 * mib))
  value resize.size "$(blockdev --getsize64 "$device")"
  check resize.grow resize2fs "$device"
  value resize.file_system "$(df -k --output=size /mnt/disk | tail -n 1 | tr -d ' ')"
  dd if=/dev/urandom of=/mnt/disk/large bs=1M count=150 status=none
  sync
  check resize.umount umount /mnt/disk
  check resize.fsck e2fsck -fn "$device"
  local seen
  seen=$(sum "$device" 192)
  check resize.detach xenpv-disk detach "$device"
  same resize.sum "$seen" "$(ask sum /dev/loop1 192)"
}

without_flush() {
  attach plain xvdd --take --connections 1 || return
  value plain.write_cache "$(tr ' ' '?' <"/sys/block/${device##*/}/queue/write_cache")"
  fill plain "$device" "$xen_directory"
  partition "$device"
  local seen
  seen=$(sum "$device" 256)
  check plain.detach xenpv-disk detach xvdd
  same plain.sum "$seen" "$(ask sum /dev/ram1 256)"
  # In the foreground, attach exits when another program disconnects the kernel device.
  xenpv-disk attach xvdd >"$results/foreground.out" 2>"$results/foreground.log" &
  local server=$!
  check foreground.ready awaits 30 grep -q /dev/nbd "$results/foreground.out"
  device=$(<"$results/foreground.out")
  value partition.size "$(blockdev --getsize64 "${device}p1")"
  check foreground.disconnect nbd-client -d "$device"
  check foreground.end wait "$server"
}

read_only() { # NAME DISK TARGET
  attach "$1" "$2" --take || return
  value "$1.read_only" "$(blockdev --getro "$device")"
  same "$1.sum" "$(sum "$device" 32)" "$(ask sum "$3" 32)"
  check "$1.detach" xenpv-disk detach "$2"
}

# If the server is stopped for longer than the device's timeout, the kernel resends requests.
reconnected() {
  xenpv-disk attach xvdd --timeout 2s --connections 1 >"$results/stop.out" 2>"$results/stop.log" &
  local server=$!
  check stop.ready awaits 30 grep -q /dev/nbd "$results/stop.out"
  device=$(<"$results/stop.out")
  kill -STOP "$server"
  sum "$device" 8 >"$results/stop.sum" &
  local reader=$!
  sleep 6
  kill -CONT "$server"
  check stop.read wait "$reader"
  check stop.replaced grep -q 'connections died; replacing them' "$results/stop.log"
  same stop.sum "$(<"$results/stop.sum")" "$(ask sum /dev/ram1 8)"
  kill -TERM "$server"
  check stop.end wait "$server"
}

killed() {
  xenpv-disk attach xvdd --dead-timeout 2s >"$results/kill.out" 2>"$results/kill.log" &
  local server=$!
  check kill.ready awaits 30 grep -q /dev/nbd "$results/kill.out"
  device=$(<"$results/kill.out")
  kill -KILL "$server"
  wait "$server"
  if timeout 30 dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none; then
    fail kill.fails "a device without a server can be read"
  else
    pass kill.fails
  fi
  # Without a server, detach asks the kernel to release the device.
  check kill.detach xenpv-disk detach "$device"
  attach again xvdd || return
  same again.sum "$(sum "$device" 8)" "$(ask sum /dev/ram1 8)"
  check again.detach xenpv-disk detach "$device"
}

main() {
  modprobe nbd
  served_by_nbd_client
  attached_again
  resized
  without_flush
  read_only reader xvde /dev/ram2
  read_only cdrom xvdf /dev/ram3
  reconnected
  killed
  ask over
}
