# Sourced by the scripts of this directory. Parses the common part of their command lines, creates a minimal chroot of a
# Debian release with mmdebstrap, and runs commands in it. The caller sets `top`, the folder of this tree, and defines
# usage().

logs=$top/build/logs/platforms
root=
keep=no
shared_directories=()  # OUTSIDE:INSIDE, see inside()
remove_at_exit=()
trap 'rm -rf --one-file-system "${remove_at_exit[@]}"' EXIT

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

skip() {
  echo "${0##*/}: $*: skipped" >&2
  exit 77
}

misused() {
  usage >&2
  exit 2
}

# parse_command_line LEAST ARGUMENT...: parses [--root DIR] RELEASE [ARGUMENT...]. Sets `release` and `arguments`, of which
# there must be at least LEAST.
parse_command_line() {
  local least=$1
  shift
  while [[ ${1:-} == -* ]]; do
    case $1 in
      --root)
        [[ $# -ge 2 ]] || misused
        root=$(realpath -m "$2")
        keep=yes
        shift
        ;;
      -h | --help) usage && exit 0 ;;
      *) misused ;;
    esac
    shift
  done
  release=${1:-}
  [[ $release =~ ^(bookworm|trixie)$ && $# -gt $least ]] || misused
  shift
  arguments=("$@")
}

# make_chroot: creates the chroot, or reuses the one of --root. Creates the folder for logs.
make_chroot() {
  require_mmdebstrap
  mkdir -p "$logs"
  if [[ $keep == no ]]; then
    root=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-$release-XXXXXX")
    remove_at_exit+=("$root")  # the mounts disappear with their namespace
  fi
  [[ -e $root/etc/debian_version ]] || bootstrap
  set_up_network
}

require_mmdebstrap() {
  [[ $(id -u) -eq 0 ]] || skip "creating a chroot requires root"
  command -v mmdebstrap >/dev/null || "$top/packaging/debian/install-packages.sh" real-xen >&2 || true
  command -v mmdebstrap >/dev/null || skip "mmdebstrap is missing and cannot be installed"
}

bootstrap() {
  local mirror=("${XENPV_DEBIAN_MIRROR:-}")
  [[ -n ${mirror[0]} ]] || mirror=()
  mkdir -p "$root"
  mmdebstrap --mode=root --variant=apt --skip=chroot/mount,check/canmount,cleanup/apt/lists \
    "$release" "$root" "${mirror[@]}" >"$logs/$release-root.log" 2>&1 ||
    fail "cannot create a chroot of $release; see $logs/$release-root.log"
}

# inside COMMAND: runs COMMAND in a shell in the chroot, with the usual file systems and shared_directories mounted.
inside() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --pid --fork --kill-child --uts -- bash -euc '
    root=$1 command=$2
    shift 2
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
    for pair; do
      mkdir -p "$root${pair#*:}"
      mount --bind "${pair%%:*}" "$root${pair#*:}"
    done
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      LANG=C.UTF-8 XENPV_DEBIAN_MIRROR="${XENPV_DEBIAN_MIRROR:-}" ${http_proxy:+http_proxy="$http_proxy"} \
      bash -c "$command"
  ' bash "$root" "$1" "${shared_directories[@]}"
}

# Copies the network configuration, which no package provides.
set_up_network() {
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  echo "127.0.0.1 localhost" >"$root/etc/hosts"
}

# install_inside PACKAGE...: installs missing packages in the chroot.
install_inside() {
  inside "dpkg -s $* >/dev/null 2>&1 || { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install $*; }" >"$logs/$release-packages.log" 2>&1 ||
    fail "cannot install packages in the chroot; see $logs/$release-packages.log"
}
