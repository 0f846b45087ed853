#!/usr/bin/env bash
# host.sh IMAGES GUEST_IMAGES RUN_DISK OUT: boots a Xen host in QEMU, without KVM, and waits until it
# powers off.
#
# IMAGES        the image directory for the host, as printed by image.sh
# GUEST_IMAGES  the image directory for the guests, often the same directory
# RUN_DISK      an ext4 image with inside/, scenarios/, bin/ and lib/ for domain 0 and the guests
# OUT           a directory for console.log (output of the hypervisor and domain 0), results.txt
#               (written line by line during the run) and results.tar (written after each scenario).
#               It must contain the FIFOs orders.in, from which domain 0 reads the names of the
#               scenarios, and orders.out.
#
# Exit status: 0 if the host powered off.
set -euo pipefail

images=$1 guest_images=$2 run_disk=$3 out=$4
memory=4096 memory_dom0=2048
# Domain 0 runs on the first two CPUs, guests on the last two (see inside/domain-0.sh).
cpus=3

# Mitigations and scrubbing only cost time here.
xen_options="dom0_mem=${memory_dom0}M dom0_max_vcpus=2 dom0_vcpus_pin loglvl=warning spec-ctrl=no bootscrub=0"
kernel_options="console=hvc0 loglevel=4 panic=1 mitigations=off xenpv.root=vda xenpv.run=vdb xenpv.place=dom0"
qemu=()
drives=0

# slot: prints the bus option for the next device. On ARM, the kernel numbers disks by address, and
# QEMU would assign the last address to the first disk.
slot() {
  [[ $bus != device ]] || echo ",bus=virtio-mmio-bus.$drives"
}

# virtio_disk FILE OPTIONS: adds a disk. In domain 0, the disks are called vda, vdb and so on, in
# the order of the calls.
virtio_disk() {
  qemu+=(-drive "if=none,id=disk$drives,format=raw,file=${1//,/,,},$2" -device "virtio-blk-$bus,drive=disk$drives$(slot)")
  drives=$((drives + 1))
}

truncate -s 512M "$out/results.tar"
: >"$out/results.txt"
# QEMU treats commas in file names as separators, so specify the images without a directory.
cd "$images"
case $(<architecture) in
  amd64)
    bus=pci
    # With -icount, one thread emulates all CPUs in turn, and an instruction takes 4 ns of the host's
    # time. On a busy machine, the host therefore becomes slower without noticing it: its time limits
    # do not expire, and no CPU spins while another CPU waits for this machine. Idle time is real
    # time.
    qemu+=(qemu-system-x86_64 -accel "tcg,thread=single" -icount "shift=2,sleep=on")
    # Of the TCG CPU models, only this one boots both PV and PVH guests: with "max", domain 0
    # crashes because of SMAP, and newer AMD models hang. PVH and HVM guests need SVM with nested
    # paging.
    qemu+=(-machine q35 -cpu qemu64,+svm,+npt -kernel xen
      -append "$xen_options console=com1 com1=115200,8n1" -initrd "vmlinux $kernel_options,initrd.cpio")
    ;;
  arm64)
    bus=device
    # With -icount, Xen never gets beyond the start of the second CPU.
    qemu+=(qemu-system-aarch64 -accel "tcg,thread=multi")
    qemu+=(-machine "virt,virtualization=on,gic-version=3" -cpu cortex-a57 -kernel xen
      -append "$xen_options console=dtuart dtuart=/pl011@9000000"
      -device "guest-loader,addr=0x49000000,kernel=vmlinuz,bootargs=$kernel_options"
      -device "guest-loader,addr=0x4f000000,initrd=initrd.cpio")
    ;;
esac
qemu+=(-smp "$cpus" -m "$memory" -nodefaults -no-user-config -display none -no-reboot
  -serial "file:$out/console.log")
virtio_disk "$images/root.img" snapshot=on
virtio_disk "$run_disk" readonly=on
virtio_disk "$out/results.tar" cache=unsafe
virtio_disk "$guest_images/root.img" snapshot=on
qemu+=(-device "virtio-serial-$bus" -chardev "file,id=results,path=$out/results.txt"
  -device "virtserialport,chardev=results,name=xenpv.results"
  -chardev "pipe,id=orders,path=$out/orders" -device "virtserialport,chardev=orders,name=xenpv.orders")
# exec, so that signals to this process reach QEMU and this process's CPU time includes QEMU's.
exec "${qemu[@]}"
