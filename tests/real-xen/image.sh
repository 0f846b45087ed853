#!/usr/bin/env bash
# Builds the hypervisor, kernel, initramfs and root image of a host; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/real-xen/image.sh [--rebuild] HOST

Prints the directory that contains xen, vmlinuz, vmlinux (the same kernel, uncompressed), initrd.cpio,
root.img and root.files of HOST, which is defined in hosts/HOST.sh. Builds these files from Debian packages if they are missing (as root or with
sudo), without mounts or loop devices. They do not contain xenpv programs, which are on a separate disk
for each run.

The directory is ${XENPV_CACHE:-${XDG_CACHE_HOME:-~/.cache}}/xenpv/real-xen/HOST-HASH. The hash covers
this script, hosts/HOST.sh, image-packages.txt and inside/initramfs-init. To include updates from
Debian, which do not change the hash, use --rebuild.

XENPV_DEBIAN_MIRROR: the mirror to use instead of deb.debian.org.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
root_size=1000M
keep_days=14

# Drivers for all types of root disks, loaded by the initramfs in domain 0 and in guests.
boot_modules=(virtio_pci virtio_mmio virtio_blk xen-blkfront ext4 overlay)
# Modules that domain 0, guests or scenarios load later. The image contains only the modules in both
# lists, those in host_modules (hosts/HOST.sh) and their dependencies.
more_modules=(
  xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-blkback xen-netfront xen-netback
  virtio_console virtio_net brd loop dm-mod null_blk nbd isofs sr_mod sd_mod xfs btrfs vfat nls_ascii
)

fail() {
  echo "image.sh: $*" >&2
  exit 1
}

# files_hash FILE...: hashes only file contents, so that clones of this tree share the cache.
files_hash() {
  cat "$@" | sha256sum | cut -c 1-16
}

image_packages() {
  awk -v release="$release" -v architecture="$architecture" '
    !/^#/ && NF && (NF == 1 || $2 == release || $2 == architecture) { print $1 }' \
    "$here/image-packages.txt" | paste -s -d ,
}

# bootstrap ROOT DEBS: installs Debian's essential packages and those in image-packages.txt.
# Packages for another architecture are only unpacked, because their programs cannot run on this
# machine; finish_foreign replaces their maintainer scripts.
bootstrap() {
  local root=$1 debs=$2 mirror=("${XENPV_DEBIAN_MIRROR:-}") variant=essential hook=customize include
  include=(--include="$(image_packages)")
  [[ -n ${mirror[0]} ]] || mirror=()
  if [[ $architecture != "$(dpkg --print-architecture)" ]]; then
    variant=extract hook=extract
    include+=(--include='?essential')
  fi
  mmdebstrap --mode=root --variant="$variant" --architectures="$architecture" \
    --skip=chroot/mount,check/canmount,check/qemu \
    "${include[@]}" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "--$hook-hook='$here/image.sh' fetch-for-hook '$host' '$debs'" \
    "$release" "$root" "${mirror[@]}"
  [[ $variant != extract ]] || finish_foreign "$root"
}

finish_foreign() {
  local root=$1
  [[ -e $root/bin/sh ]] || ln -s dash "$root/bin/sh"
  [[ -e $root/usr/bin/awk ]] || ln -s mawk "$root/usr/bin/awk"
  mkdir -p "$root"/{mnt,proc,sys,dev,run,tmp,root,results}
  # These are directories in unpacked packages, and links once the packages have been configured.
  local name
  for name in run lock; do
    [[ -L $root/var/$name ]] || rmdir "$root/var/$name" 2>/dev/null || true
  done
  [[ -L $root/var/run ]] || ln -s /run "$root/var/run"
  [[ -L $root/var/lock ]] || ln -s /run/lock "$root/var/lock"
  [[ -e $root/etc/passwd ]] || cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  [[ -e $root/etc/group ]] || cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
}

# assemble DIRECTORY: builds all files in an empty directory. Needs root, because it creates files
# of other owners and runs maintainer scripts in a chroot.
assemble() {
  local out=$1 work=$1/work
  mkdir -p "$work/debs"
  bootstrap "$work/root" "$work/debs"
  local deb
  for deb in "$work"/debs/*.deb; do
    # Only unpacked, because the maintainer scripts of a kernel would modify this machine.
    dpkg -x "$deb" "$work/unpacked"
  done
  echo "$architecture" >"$out/architecture"
  take_kernel "$work" "$out"
  make_initramfs "$work" "$out"
  prune "$work/root"
  find "$work/root" -printf '/%P\n' | sort >"$out/root.files"
  # Domain 0 boots the guests with the kernel in their root image.
  mkdir -p "$work/root/boot"
  cp "$out/vmlinuz" "$out/vmlinux" "$out/initrd.cpio" "$work/root/boot/"
  mke2fs -q -t ext4 -L xenpv-root -m 0 -d "$work/root" "$out/root.img" "$root_size"
  rm -rf "$work"
}

# Runs inside mmdebstrap, whose apt has the package lists for the image. The apt of this machine may
# have those of another release, or none.
fetch_for_hook() {
  local debs=$1 kernel hypervisor
  export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
  kernel=$(apt-cache depends "linux-image-$architecture" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
  hypervisor=$(apt-cache depends "xen-system-$architecture" | sed -n 's/^ *Depends: \(xen-hypervisor-.*\)/\1/p' | head -n 1)
  cd "$debs"
  apt-get download -q -o APT::Sandbox::User=root "$kernel" "$hypervisor" busybox-static
}

take_kernel() {
  local work=$1 out=$2 hypervisor kernel
  hypervisor=$(find "$work/unpacked/boot" -name "xen-[0-9]*-$architecture" -o -name "xen-[0-9]*-$architecture.gz" |
    sort | head -n 1)
  kernel=$(find "$work/unpacked/boot" -name 'vmlinuz-*' | sort | head -n 1)
  [[ -n $hypervisor && -n $kernel ]] || fail "the hypervisor or the kernel is missing in the packages"
  # QEMU's multiboot loader accepts only an uncompressed ELF file.
  case $hypervisor in
    *.gz) gunzip -c "$hypervisor" >"$out/xen" ;;
    *) cp "$hypervisor" "$out/xen" ;;
  esac
  cp "$kernel" "$out/vmlinuz"
  unpack_kernel "$out/vmlinuz" "$out/vmlinux"
  local version=${kernel##*/vmlinuz-} modules
  modules=$(find "$work/unpacked" -type d -path "*lib/modules/$version")
  mkdir -p "$work/root/lib/modules"
  cp -a "$modules" "$work/root/lib/modules/"
  depmod -b "$work/root" "$version"
  echo "$version" >"$work/kernel-version"
}

# number_at FILE OFFSET BYTES: prints an unsigned number from a binary file.
number_at() {
  od -A n -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# unpack_kernel KERNEL OUT: writes the ELF file from a compressed x86 kernel, because decompressing it
# in the emulated host takes seconds for each boot. Copies other kernels. The offsets are those of
# the x86 boot protocol.
unpack_kernel() {
  local kernel=$1 out=$2 start length unpack=()
  if [[ $(dd if="$kernel" bs=1 skip=514 count=4 status=none | tr -d '\0') == HdrS ]]; then
    start=$((($(number_at "$kernel" 497 1) + 1) * 512 + $(number_at "$kernel" 584 4)))
    # The last four bytes are the uncompressed size.
    length=$(($(number_at "$kernel" 588 4) - 4))
    case $(od -A n -t x1 -j "$start" -N 4 "$kernel" | tr -d ' ') in
      fd377a58) unpack=(xz -d) ;;
      28b52ffd) unpack=(zstd -d -q) ;;
    esac
  fi
  if [[ ${#unpack[@]} -eq 0 ]]; then
    cp "$kernel" "$out"
  else
    dd if="$kernel" bs=64K skip="$start" count="$length" iflag=skip_bytes,count_bytes status=none |
      "${unpack[@]}" -c >"$out"
  fi
}

# module_files ROOT VERSION NAME...: prints the paths of the modules and their dependencies below
# ROOT, in loading order. modprobe prints "builtin" for built-in modules.
module_files() {
  local root=$1 version=$2 name
  shift 2
  for name in "$@"; do
    modprobe -d "$root" -S "$version" --show-depends "$name" | sed -n "s,^insmod $root\\([^ ]*\\).*,\\1,p"
  done | awk '!seen[$0]++'
}

make_initramfs() {
  local work=$1 out=$2 tree=$1/initramfs version file
  version=$(<"$work/kernel-version")
  mkdir -p "$tree"/{bin,dev,proc,sys,lower,upper,newroot,modules}
  cp "$(find "$work/unpacked" -name busybox -path '*/bin/*')" "$tree/bin/busybox"
  cp "$here/inside/initramfs-init" "$tree/init"
  chmod 755 "$tree/init"
  for file in $(module_files "$work/root" "$version" "${boot_modules[@]}"); do
    cp "$work/root$file" "$tree/modules/"
    # busybox loads only uncompressed modules.
    [[ $file != *.xz ]] || xz -d "$tree/modules/${file##*/}"
    file=${file%.xz}
    echo "${file##*/}" >>"$tree/modules/order"
  done
  (cd "$tree" && find . -print0 | sort -z | cpio --quiet --null -o -H newc) >"$out/initrd.cpio"
}

prune() {
  local root=$1 version file
  version=$(ls "$root/lib/modules")
  module_files "$root" "$version" "${boot_modules[@]}" "${more_modules[@]}" ${host_modules:-} |
    sort >"$root/keep"
  (cd "$root" && find "lib/modules/$version/kernel" -name '*.ko*' -printf '/%p\n') | sort |
    comm -23 - "$root/keep" | while read -r file; do rm -f "$root$file"; done
  rm "$root/keep"
  depmod -b "$root" "$version"
  rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,perl/*/unicore} "$root"/var/lib/apt/lists/* \
    "$root"/var/cache/* "$root"/usr/share/qemu/*.{dtb,lid} "$root"/usr/share/qemu/edk2-*
  # /mnt/run is the mount point of the disk with the programs; the host name appears in prompts and
  # logs.
  mkdir -p "$root/mnt/run"
  echo real-xen >"$root/etc/hostname"
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=XENPV_DEBIAN_MIRROR,http_proxy,https_proxy "$@"
  else
    fail "building the images needs root or sudo; run this script once as root"
  fi
}

remove_old() {
  local cache=$1
  find "$cache" -mindepth 1 -maxdepth 1 ! -name lock -mtime "+$keep_days" -exec rm -rf {} +
}

# build_into CACHE NAME: creates CACHE/NAME completely or not at all.
build_into() {
  local cache=$1 name=$2 log=$1/$2.log
  local new=$cache/$name.new
  echo "real-xen: building the images (a minute or two; log: $log)" >&2
  as_root rm -rf "$new"
  mkdir -p "$new"
  if ! as_root "$here/image.sh" assemble "$host" "$new" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "building the images failed; see $log"
  fi
  as_root chown -R "$(id -u):$(id -g)" "$new"
  rm -rf "${cache:?}/$name"
  mv "$new" "$cache/$name"
  remove_old "$cache"
}

# choose HOST: sets release and architecture.
choose() {
  host=$1
  [[ $host =~ ^[a-z0-9-]+$ && -e $here/hosts/$host.sh ]] ||
    fail "no host '$host'; available: $(cd "$here/hosts" && ls | sed 's/\.sh$//' | paste -s -d ' ')"
  # shellcheck source=/dev/null
  source "$here/hosts/$host.sh"
}

main() {
  local rebuild=no
  case ${1:-} in
    --rebuild) rebuild=yes && shift ;;
    -h | --help) usage && return 0 ;;
  esac
  [[ $# -eq 1 && $1 != -* ]] || { usage >&2 && return 2; }
  choose "$1"
  local cache name
  cache=${XENPV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/xenpv/real-xen
  name=$host-$(files_hash "$here/image.sh" "$here/hosts/$host.sh" "$here/image-packages.txt" \
    "$here/inside/initramfs-init")
  mkdir -p "$cache"
  exec {lock}>"$cache/lock"
  flock "$lock"
  if [[ $rebuild == yes || ! -e $cache/$name/root.img ]]; then build_into "$cache" "$name"; fi
  touch "$cache/$name"
  echo "$cache/$name"
}

case ${1:-} in
  assemble) choose "$2" && assemble "$3" ;;
  fetch-for-hook) choose "$2" && fetch_for_hook "$3" ;;
  *) main "$@" ;;
esac
