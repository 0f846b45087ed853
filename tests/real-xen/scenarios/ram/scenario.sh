# A guest that runs from RAM: its initramfs holds busybox, the statically linked xenpv and kernel
# modules, but not the kernel's block frontend. It mounts a disk with `xenpv disk attach`, runs
# xenpv-doctor, and is saved and restored while it writes.
programs=(xenpv-static)
short_places=none
limit=300
tsc_mode=default
memory=256

modules=(xen-evtchn xen-gntalloc xen-gntdev xen-privcmd xenfs nbd ext4)
scenario_files=/mnt/run/scenarios/ram
busybox=/tmp/busybox
# Replaces the initramfs of domain-0.sh; the guest then has no root disk either.
ramdisk=/tmp/ram.cpio
files_mib=24

module_files() {
  local version
  version=$(basename "$guest_root"/lib/modules/*)
  for name in "${modules[@]}"; do
    modprobe -d "$guest_root" -S "$version" --show-depends "$name" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++'
}

# list_initramfs: prints the contents for make_initramfs.pl.
list_initramfs() {
  local path name
  for name in bin dev etc mnt modules proc results run sys tmp; do echo "directory $name"; done
  echo "file init $scenario_files/init 755"
  echo "file bin/busybox $busybox 755"
  echo "file bin/xenpv /mnt/run/bin/xenpv-static 755"
  : >/tmp/order
  for path in $(module_files); do
    name=${path##*/}
    name=${name%.xz}
    cp "$path" "/tmp/${path##*/}"
    # busybox loads only uncompressed modules.
    [[ $path != *.xz ]] || "$busybox" unxz -f "/tmp/${path##*/}"
    echo "$name" >>/tmp/order
    echo "file modules/$name /tmp/$name 644"
  done
  echo "file modules/order /tmp/order 644"
}

make_initramfs() {
  "$scenario_files/initramfs.pl" extract "$guest_root/boot/initrd.cpio" ./bin/busybox >$busybox
  chmod 755 $busybox
  list_initramfs | "$scenario_files/initramfs.pl" create "$ramdisk"
  value initramfs.bytes "$(stat -c %s "$ramdisk")"
  value program.bytes "$(stat -c %s /mnt/run/bin/xenpv-static)"
}

# The disk has a file system with files and their checksums.
make_disk() {
  local tree=/tmp/ram-files number
  mkdir -p "$tree"
  for ((number = 1; number <= files_mib; number++)); do
    head -c 1M /dev/urandom >"$tree/$number"
  done
  (cd "$tree" && md5sum -- * >/tmp/sums && mv /tmp/sums "$tree/sums")
  truncate -s 128M /tmp/xvdb.img
  mke2fs -q -t ext4 -d "$tree" /tmp/xvdb.img
  rm -rf "$tree"
}

dom0_before() {
  make_initramfs
  make_disk
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  disk xvdb /dev/loop0 w
}

# The guest has no xenstore client, so it prints its messages to its console.
console() { cat "/var/log/xen/console/guest-$place.log"; }
said() { console | tr -d '\r' | grep -qx "ram: $1"; }

# repeat_suspend: Linux aborts a suspend if a process waits for the disk, whose server is already
# frozen. The toolstack is not notified, so the request must be repeated.
repeat_suspend() {
  local seen=0 now
  while sleep 0.5; do
    now=$(console | grep -c 'do_suspend: freeze')
    if [[ $now -gt $seen ]]; then xenstore-write "/local/domain/$guest/control/shutdown" suspend; fi
    seen=$now
  done
}

dom0_during() {
  check ready awaits "$limit" said ready || return 0
  repeat_suspend &
  local repeating=$!
  check save xl save "$place" /tmp/saved
  kill "$repeating"
  check restore xl restore /tmp/saved
  rm -f /tmp/saved
  check restored awaits 120 said restored
}

dom0_after() {
  losetup -d /dev/loop0
  check disk.fsck e2fsck -fn /tmp/xvdb.img
  # The disk contains the guest's last write.
  check disk.dump debugfs -R "dump written /tmp/written" /tmp/xvdb.img
  same disk.written "$(md5sum </tmp/written)" "$(cat "$results/guest/written.md5")"
}
