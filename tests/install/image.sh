#!/usr/bin/env bash
# image.sh BUILD WORK: makes the container image of BUILD with packaging/image.sh, twice, and runs the simulator in
# its root file system. Needs root and a Debian mirror, and takes two minutes, so ctest does not run it. Exit status: 0
# on success, 1 on failure, 77 if a requirement is missing.
set -euo pipefail

build=$(realpath "$1") work=$(realpath -m "$2")/image
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
root=$work/root

fail() {
  echo "image.sh: $*" >&2
  exit 1
}

skip() {
  echo "image.sh: $*: skipped" >&2
  exit 77
}

# in_image ARGUMENT...: runs the entry point in the image, with only the file systems that containers have.
in_image() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --pid --fork --kill-child --net -- sh -euc '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/dev"
    mkdir "$root/dev/shm"
    mount -t tmpfs tmpfs "$root/dev/shm"
    for node in null zero urandom; do
      touch "$root/dev/$node"
      mount --bind "/dev/$node" "$root/dev/$node"
    done
    exec chroot "$root" "$@"' sh "$root" "${entry_point[@]}" "$@"
}

# expect TEXT ARGUMENT...: fails unless the output of in_image contains TEXT.
expect() {
  local text=$1 output
  shift
  output=$(in_image "$@" 2>&1) || fail "$*: exit status $?: $output"
  [[ $output == *"$text"* ]] || fail "$*: the output does not contain '$text': $output"
  echo "ok: xenpv-sim $*"
}

[[ $(id -u) -eq 0 ]] || skip "root is missing"
unshare --mount --pid --fork --net true 2>/dev/null || skip "there are no namespaces"

rm -rf "$work"
mkdir -p "$work"
"$here/../../packaging/image.sh" --build "$build" --out "$work/oci"
read -ra entry_point < <(python3 "$here/check_layout.py" "$work/oci" "$root")
[[ ${entry_point[*]} == /usr/bin/xenpv-sim ]] || fail "the entry point is ${entry_point[*]}"

expect "Commands:" --help
expect "/local/domain/1" run -- xenstore-ls -f /local/domain/1
# shellcheck disable=SC2016  # expanded in the guest
expect 16777216 run --disk xvdb,memory=16M -- xenpv-disk run xvdb -- sh -c 'nbdinfo --size "$uri"'
expect "xvdb" run --disk xvdb,memory=16M -- xenpv-disk list

"$here/../../packaging/image.sh" --build "$build" --out "$work/again"
diff -r "$work/oci" "$work/again" || fail "the image differs when it is made again"
rm -rf "$work"
