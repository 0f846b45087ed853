#!/usr/bin/env bash
# bare_root.sh PROGRAM CAPTURES static|shared: runs the statically linked program in a root that
# contains only busybox. Exit status 77 if that is not possible.
set -uo pipefail

program=$1 captures=$2 linkage=$3
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tests/static/checks.sh
source "$here/checks.sh"

skip() {
  echo "skipped: $*"
  exit 77
}

[[ $linkage == static ]] || skip "not built with -DXENPV_STATIC=ON"
busybox=$(command -v busybox) || skip "busybox is missing (Debian: busybox-static)"
! readelf -lW "$busybox" | grep -q INTERP || skip "$busybox is not statically linked (Debian: busybox-static)"

# The program itself.
! readelf -lW "$program" | grep -q INTERP || failed "the program needs a dynamic linker"
! readelf -dW "$program" | grep -q NEEDED || failed "the program needs shared libraries"
readelf -hW "$program" | grep -q 'DYN (Position-Independent Executable' || failed "the program is not position-independent"

root=$work/root
mkdir -p "$root"/{bin,proc,dev,etc,capture}
cp "$busybox" "$root/bin/busybox"
strip -s -o "$root/bin/xenpv" "$program"
# Neither module exists; no look-up may try to load them.
printf 'passwd: systemd sss\ngroup: systemd sss\nhosts: mymachines\n' >"$root/etc/nsswitch.conf"
python3 "$here/../interop/evtchn_tree.py" unpack "$captures/dom0.txt" "$work/capture"
cp -r "$work/capture/." "$root/capture/"

if [[ $(id -u) -eq 0 ]]; then
  enter=(unshare --mount --pid --fork)
else
  enter=(unshare --user --map-root-user --mount --pid --fork)
fi
# inside SCRIPT: runs a script of busybox in the root.
inside() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  "${enter[@]}" sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/busybox sh -c "$2"' sh "$root" \
    "/bin/busybox --install -s /bin; export PATH=/bin; $1"
}
inside true >"$work/log" 2>&1 || skip "cannot enter another root here: $(tail -n 1 "$work/log")"

gives 0 '^xenpv [0-9]' inside 'xenpv --version'
gives 0 '^ +doctor +' inside 'xenpv'
gives 0 '^xenpv-disk$' inside 'xenpv --install /bin; readlink /bin/xenpv-disk; xenpv --list'
gives 0 '^xenpv$' inside 'readlink /bin/xenpv-timer'
for applet in disk doctor evtchn ipi timer; do
  gives 0 "^xenpv-$applet [0-9]" inside "xenpv-$applet --version"
  gives 0 "^Usage: xenpv-$applet " inside "xenpv $applet --help"
done
# The same results as outside.
gives 0 '^$' diff <(COLUMNS=80 "$program" doctor --root "$work/capture" --json 2>&1 | sed 's/"root": .*//'; echo .) \
  <(inside 'xenpv doctor --root /capture --json' 2>&1 | sed 's/"root": .*//'; echo .)
gives 0 'timer0' inside 'xenpv-evtchn list --root /capture'
# Not a Xen guest: the message does not depend on files of the system.
gives 77 '^xenpv-disk: ' inside 'xenpv-disk list'
gives 0 'CPU' inside 'xenpv-timer --duration 50ms --interval 5ms --cpus 0 || true'
finish
