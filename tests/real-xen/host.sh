#!/usr/bin/env bash
# host.sh IMAGES RUN_DISK OUT SECONDS: boots one Xen host in QEMU, without KVM, and waits for its end.
#
# IMAGES    what image.sh printed
# RUN_DISK  an ext4 image with inside/, scenario/, bin/ and lib/: what domain 0 and the guests run
# OUT       a directory: gets console.log (the hypervisor's and domain 0's), results.txt (line by line
#           while it runs) and results.tar (at the end)
#
# Exit status: 0 when the host switched itself off, 124 or 137 when it took longer than SECONDS.
set -euo pipefail

images=$1 run_disk=$2 out=$3 seconds=$4
memory=4096 memory_dom0=2048

# Of the CPU models that TCG offers, only this one boots PV and PVH guests both: "max" has SMAP, which
# domain 0 dies from, and newer AMD models hang. SVM with nested paging is for PVH and HVM guests.
cpu=qemu64,+svm,+npt
# Guests run on the last two (inside/domain-0.sh says why), domain 0 on the first two.
cpus=3

xen_words="dom0_mem=${memory_dom0}M dom0_max_vcpus=2 dom0_vcpus_pin console=com1 com1=115200,8n1 loglvl=warning"
kernel_words="console=hvc0 loglevel=4 panic=1 xenpv.root=vda xenpv.run=vdb xenpv.place=dom0"

# virtio_disk FILE OPTIONS: the guest sees them as vda, vdb... in the order of the command line.
virtio_disk() {
  printf 'if=virtio,format=raw,file=%s,%s' "${1//,/,,}" "$2"
}

truncate -s 512M "$out/results.tar"
: >"$out/results.txt"
# A comma separates the kernel's command line from the next module, so paths must not hold any.
cd "$images"
# exec: whoever ends this process ends QEMU with it.
exec timeout --kill-after=10 "$seconds" qemu-system-x86_64 \
  -accel tcg,thread=multi -machine q35 -cpu "$cpu" -smp "$cpus" -m "$memory" \
  -nodefaults -no-user-config -display none -no-reboot -serial "file:$out/console.log" \
  -kernel xen.elf -append "$xen_words" -initrd "vmlinuz $kernel_words,initrd.cpio" \
  -drive "$(virtio_disk "$images/root.img" snapshot=on)" \
  -drive "$(virtio_disk "$run_disk" readonly=on)" \
  -drive "$(virtio_disk "$out/results.tar" cache=unsafe)" \
  -device virtio-serial-pci -chardev "file,id=results,path=$out/results.txt" \
  -device virtserialport,chardev=results,name=xenpv.results
