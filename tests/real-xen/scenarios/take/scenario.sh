# Tests that --take never takes over a disk that is in use, under any of its names. The toolstack
# calls the disks hda, hdb and sdf, as on XCP-ng, XenServer and EC2; Linux calls them xvda, xvdb and
# xvdf.
programs=(xenpv-disk xenpv-custodian)
places='pv pvh hvm'
short_places='pv'
limit=300
memory=768
root_vdev=hda

dom0_before() {
  file_disk /dev/loop0 /tmp/hdb.img 64M
  disk hdb /dev/loop0 w
  # In an HVM guest, QEMU would have to emulate a SCSI controller.
  [[ $place == hvm* ]] || disk sdf /dev/ram1 w
}

# Handles the guest's requests to its toolstack.
toolstack() {
  case $1 in
    again)
      xl block-detach "$guest" "$2"
      xl block-attach "$guest" "format=raw,vdev=$2,access=w,backendtype=phy,script=$XENPV_INSIDE/block,target=$3"
      ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

is_bound() { [[ -e /sys/bus/xen/drivers/vbd/vbd-$1 ]]; }

names() {
  xenpv-disk list >"$results/list.txt"
  check list.hda grep -Eq '^xvda +768 .* kernel +Connected' "$results/list.txt"
  check list.hdb grep -Eq '^xvdb +832 .* kernel +Connected' "$results/list.txt"
  [[ $place == hvm* ]] || check list.sdf grep -Eq '^xvdf +2128 .* kernel +Connected' "$results/list.txt"
}

# The root file system is below an overlay that was mounted before switch_root, so
# /proc/self/mountinfo does not show it. Only the kernel's exclusive claim reveals that the disk is
# in use.
hidden_mount() {
  local word
  for word in hda xvda 768; do
    value "hidden.$word" "$(status_of timeout 60 xenpv-disk serve "$word" --take)"
    says "hidden.${word}_message" 'take xvda from the kernel: .*busy \(it is claimed \(/dev/xvda\)'
  done
  check hidden.bound is_bound 768
  check hidden.alive dd if=/dev/xvda of=/dev/null bs=1M count=8 iflag=direct
}

visible_mount() {
  mkdir -p /mnt/root /mnt/disk
  check visible.mount mount -t ext4 -o ro,noload /dev/xvda /mnt/root
  modprobe nbd
  value visible.attach "$(status_of timeout 60 xenpv-disk attach /dev/xvda --take)"
  says visible.message 'take xvda from the kernel: .*busy \(it is mounted on /mnt/root \(/dev/xvda\)'
  check visible.bound is_bound 768
  check visible.umount umount /mnt/root
}

other_users() {
  modprobe loop
  check loop.setup losetup /dev/loop0 /dev/xvdb
  value loop.refused "$(status_of timeout 60 xenpv-disk serve hdb --take)"
  says loop.message 'take xvdb from the kernel: .*busy \(it is used by loop0 \(/dev/xvdb\)\)'
  check loop.free losetup -d /dev/loop0
  check swap.make mkswap /dev/xvdb
  check swap.on swapon /dev/xvdb
  value swap.refused "$(status_of timeout 60 xenpv-disk serve hdb --take)"
  says swap.message 'it is used as swap \(/dev/xvdb\)'
  check swap.off swapoff /dev/xvdb
  check other.bound is_bound 832
}

# All other errors are reported before the disk is taken over.
checked_first() {
  value first.group "$(status_of timeout 60 xenpv-disk serve hdb --take --socket-group nobody-is-in-it)"
  value first.folder "$(status_of timeout 60 xenpv-disk serve hdb --take --unix /nowhere/nbd.sock)"
  check first.bound is_bound 832
  check first.alive dd if=/dev/xvdb of=/dev/null bs=1M count=1 iflag=direct
}

# An error that occurs only after the takeover: one page is not enough to connect. The disk is
# returned. Linux may be unable to reconnect (see give_to_kernel()), but the toolstack can always
# attach the disk again.
given_back() {
  value back.failed "$(status_of timeout 60 xenpv-disk serve hdb --take --pages 1)"
  says back.message "returned to the kernel driver, as /dev/xvdb|its driver has not connected, and was unbound again"
  if [[ -b /dev/xvdb ]]; then value back.outcome connected; else value back.outcome unbound; fi
  if ! is_bound 832; then
    # The disk is still usable: it can be served and attached again.
    xenpv-disk serve hdb --unix /tmp/hdb.sock >"$results/back.out" 2>"$results/back.log" &
    local server=$!
    check back.serves awaits 30 grep -q nbd-client "$results/back.out"
    kill -TERM "$server"
    check back.end wait "$server"
    check back.again ask again hdb /dev/loop0
    check back.kernel awaits 30 is_bound 832
  fi
  check back.device awaits 30 test -b /dev/xvdb
}

taken() {
  xenpv-disk serve hdb --take --unix /tmp/hdb.sock >"$results/serve.out" 2>"$results/serve.log" &
  local server=$!
  check taken.ready awaits 30 grep -q nbd-client "$results/serve.out"
  check taken.no_device test ! -b /dev/xvdb
  check taken.status grep -q '^xvdb: connected' <(xenpv-disk status hdb)
  kill -TERM "$server"
  check taken.end wait "$server"
}

main() {
  names
  hidden_mount
  visible_mount
  other_users
  checked_first
  given_back
  taken
  ask over
}
