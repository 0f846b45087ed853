#!/usr/bin/env bash
# Runs the README's commands in a minimal chroot of a Debian release; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/platforms/run.sh [--root DIR] RELEASE [STEP...]

Creates a minimal chroot of the Debian release RELEASE (bookworm or trixie) with mmdebstrap, clones the
last commit of this tree into it and runs these steps in it:

  try     packaging/try.sh
  quick   tests/run.sh --quick
  tests   tests/run.sh
  clang   build everything with clang++ and warnings as errors, and run the unit tests

The default steps are try, quick and clang. Must be run as root; needs mount and PID namespaces. All
packages are installed in the chroot, which is removed at the end.

  --root DIR   keep the chroot in DIR, or reuse the one that an earlier run left there

XENPV_DEBIAN_MIRROR: the mirror to use instead of deb.debian.org.
The last line is "N passed, N failed" and counts steps. Logs are in build/logs/platforms.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid, 77 if the
chroot cannot be created on this machine.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
logs=$top/build/logs/platforms
root=
keep=no
passed=0 failed=0

fail() {
  echo "platforms: $*" >&2
  exit 1
}

skip() {
  echo "platforms: $*: skipped" >&2
  exit 77
}

bootstrap() {
  local mirror=("${XENPV_DEBIAN_MIRROR:-}")
  [[ -n ${mirror[0]} ]] || mirror=()
  mkdir -p "$root"
  mmdebstrap --mode=root --variant=apt --skip=chroot/mount,check/canmount,cleanup/apt/lists \
    "$release" "$root" "${mirror[@]}" >"$logs/$release-root.log" 2>&1 ||
    fail "cannot create a chroot of $release; see $logs/$release-root.log"
}

# inside COMMAND: runs COMMAND in a shell in the chroot, with the usual file systems mounted.
inside() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --pid --fork --kill-child --uts -- bash -euc '
    root=$1
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs tmpfs "$root/dev"
    for name in null zero full random urandom tty; do
      touch "$root/dev/$name"
      mount --bind "/dev/$name" "$root/dev/$name"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t tmpfs tmpfs "$root/dev/shm"
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      LANG=C.UTF-8 XENPV_DEBIAN_MIRROR="${XENPV_DEBIAN_MIRROR:-}" ${http_proxy:+http_proxy="$http_proxy"} \
      bash -c "$2"
  ' bash "$root" "$1"
}

# Copies the network configuration, which no package provides, and the sources.
set_up_root() {
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  echo "127.0.0.1 localhost" >"$root/etc/hosts"
  rm -rf "$root/root/xenpv"
  git clone -q --no-hardlinks "$top" "$root/root/xenpv"
}

command_of() {
  case $1 in
    try) echo 'packaging/try.sh' ;;
    quick) echo 'tests/run.sh --quick' ;;
    tests) echo 'tests/run.sh' ;;
    clang) echo 'packaging/debian/install-packages.sh build test &&
      cmake -S . -B build/clang -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DXENPV_WERROR=ON &&
      cmake --build build/clang && ctest --test-dir build/clang -L unit --output-on-failure' ;;
    *) return 1 ;;
  esac
}

run_step() {
  local step=$1 start=$SECONDS log=$logs/$release-$1.log
  echo "== $release $step"
  if inside "cd /root/xenpv && { $(command_of "$step"); }" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $release $step  $((SECONDS - start)) s: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1))
    echo "FAILED  $release $step  $((SECONDS - start)) s: see $log"
    tail -n 30 "$log" >&2
  fi
}

while [[ ${1:-} == -* ]]; do
  case $1 in
    --root)
      [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
      root=$(realpath -m "$2")
      keep=yes
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
release=${1:-}
case $release in
  bookworm | trixie) shift ;;
  *) usage >&2 && exit 2 ;;
esac
steps=("$@")
[[ ${#steps[@]} -gt 0 ]] || steps=(try quick clang)
for step in "${steps[@]}"; do
  command_of "$step" >/dev/null || { usage >&2 && exit 2; }
done

[[ $(id -u) -eq 0 ]] || skip "creating a chroot requires root"
command -v mmdebstrap >/dev/null || "$top/packaging/debian/install-packages.sh" real-xen >&2 || true
command -v mmdebstrap >/dev/null || skip "mmdebstrap is missing and cannot be installed"
mkdir -p "$logs"
if [[ $keep == no ]]; then
  root=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-$release-XXXXXX")
  # The mounts disappear with their namespace.
  trap 'rm -rf --one-file-system "$root"' EXIT
fi
[[ -e $root/etc/debian_version ]] || bootstrap
set_up_root
for step in "${steps[@]}"; do run_step "$step"; done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
