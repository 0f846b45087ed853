# The block frontend with all available backends: QEMU's xen-block, and Linux blkback with various
# parameters on RAM disks, on a file with a write cache and on a device with 4096-byte sectors.
programs=(sim_frontend_tests xenpv-custodian)
short_places='pv'
limit=900
memory=768

# Device, name in the tests, matrix combinations. The simulator runs all combinations; here, both
# values of each of the four parameters occur at least once.
all_disks=(
  'xvdb brd _one_page_one_queue_*_persistent _largest_ring_all_queues_*_mapped'
  'xvdc file _largest_ring_all_queues_*_persistent'
  'xvdd qdisk _*_all_queues_direct_persistent'
  'xvde mapped _largest_ring_all_queues_indirect_persistent'
  'xvdf one_queue _largest_ring_all_queues_indirect_persistent'
  'xvdg sector_4096 _largest_ring_all_queues_*_persistent'
)
other_disks=(xvdj xvdk xvdl xvdm)
# Debian has no QEMU for Xen on ARM.
has_qdisk=yes
if [[ $(uname -m) == aarch64 ]]; then
  has_qdisk=no
  unset 'all_disks[2]'
fi

# Cases in frontend_test.cpp that need the simulator, because of faults, a restart or other
# backends.
only_simulated=(
  rejects_a_sector_size_with_an_ambiguous_unit
  fails_with_a_reason_when_the_backend_violates_the_protocol
  times_out_unanswered_requests
  continues_after_a_backend_restart
)

sectors_of_4096() {
  modprobe null_blk nr_devices=0
  mount -t configfs configfs /sys/kernel/config 2>/dev/null
  local made=/sys/kernel/config/nullb/nullb0
  [[ ! -e $made ]] || return 0
  mkdir "$made"
  echo 4096 >"$made/blocksize"
  echo 256 >"$made/size"
  echo 1 >"$made/memory_backed"
  echo 1 >"$made/discard"
  echo 64 >"$made/cache_size"
  echo 1 >"$made/power"
}

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdc.img 256M
  file_disk /dev/loop1 /tmp/xvdj.img 32M
  sectors_of_4096
  disk xvdb /dev/ram1 w
  disk xvdc /dev/loop0 w
  disk xvdg /dev/nullb0 w
  disk xvdj /dev/loop1 w
  disk xvdk /dev/ram2 r phy devtype=cdrom
  disk xvdl /dev/ram3 r
  if [[ $has_qdisk == no ]]; then
    disk xvdm /dev/ram6 r phy devtype=cdrom
    return
  fi
  truncate -s 256M /tmp/xvdd.img
  truncate -s 8M /tmp/xvdm.img
  disk xvdd /tmp/xvdd.img w qdisk
  disk xvdm /tmp/xvdm.img r qdisk devtype=cdrom
}

blkback_parameter() {
  echo "$2" >"/sys/module/xen_blkback/parameters/$1"
}

# attach VDEV TARGET: like `disk`, but for the running guest. blkback reads its module parameters
# when the disk is attached.
attach() {
  xl block-attach "$guest" "format=raw,vdev=$1,access=w,backendtype=phy,script=$XENPV_INSIDE/block,target=$2"
}

# Handles the guest's requests to its toolstack.
toolstack() {
  local uncached=
  # tmpfs does not support direct I/O.
  if [[ -b ${2:-} ]]; then uncached=oflag=direct; fi
  case $1 in
    attach) attach "$2" "$3" ;;
    attach-varied)
      blkback_parameter feature_persistent N
      attach xvde /dev/ram4
      blkback_parameter feature_persistent Y
      blkback_parameter max_queues 1
      attach xvdf /dev/ram5
      blkback_parameter max_queues 2
      ;;
    unplug) xl block-detach "$guest" "$2" ;;
    resize) truncate -s "$3" "/tmp/$2.img" && losetup -c /dev/loop1 ;;
    sum) dd if="$2" bs=1M count="$3" ${uncached/o/i} status=none | md5sum ;;
    # shellcheck disable=SC2086  # one option or none
    fill) dd if=/dev/urandom of="$2" bs=1M count="$3" $uncached conv=notrunc status=none ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

run_cases() {
  local entry name device words shape filter='frontend.*' disks=()
  for entry in "${all_disks[@]}"; do
    read -r device name words <<<"$entry"
    disks+=("$name=$(take_disk "$device")")
    for shape in $words; do filter+=":*/frontend_matrix.*/$name$shape"; done
  done
  for device in "${other_disks[@]}"; do take_disk "$device"; done
  XENPV_TEST_DISKS=$(IFS=,; echo "${disks[*]}")
  export XENPV_TEST_DISKS XENPV_TEST_TOOLSTACK=$XENPV_INSIDE/ask.sh
  filter+=-$(printf ':frontend.%s' "${only_simulated[@]}")
  gtest sim_frontend_tests "--gtest_filter=$filter:freebsd/*"
}

# The frontend reads the data that domain 0 wrote, and domain 0 the data that the frontend wrote,
# bypassing all caches.
compare_with_dom0() { # NAME PATH TARGET
  local bytes=$((32 << 20)) file=/tmp/data
  dd if=/dev/urandom of="$file" bs=1M count=32 status=none
  check "$1.write" sim_frontend_tests --write "$2" "$file"
  same "$1.written" "$(md5sum <"$file")" "$(ask sum "$3" 32)"
  ask fill "$3" 32
  check "$1.read" sim_frontend_tests --read "$2" "$file" "$bytes"
  same "$1.is_read" "$(md5sum <"$file")" "$(ask sum "$3" 32)"
}

# After the toolstack has detached and reattached the disk, the kernel uses it again.
hand_back() {
  check hand_back.detach ask unplug xvdb
  check hand_back.attach ask attach xvdb /dev/ram1
  awaits 30 test -b /dev/xvdb
  same hand_back.data "$(dd if=/dev/xvdb bs=1M count=32 iflag=direct status=none | md5sum)" "$(ask sum /dev/ram1 32)"
}

main() {
  ask attach-varied
  sleep 1
  run_cases
  compare_with_dom0 brd device/vbd/51728 /dev/ram1
  compare_with_dom0 file device/vbd/51744 /dev/loop0
  if [[ $has_qdisk == yes ]]; then compare_with_dom0 qdisk device/vbd/51760 /tmp/xvdd.img; fi
  compare_with_dom0 sector_4096 device/vbd/51808 /dev/nullb0
  hand_back
  ask over
}
