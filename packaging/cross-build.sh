#!/usr/bin/env bash
# Builds the tree for another architecture. See usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/cross-build.sh arm64 [TARGET...]
       packaging/cross-build.sh --sysroot arm64

Builds all targets, or TARGETs, for ARM64 in build/arm64. Installs missing packages: the compiler, and
QEMU user-mode emulation, which is needed to generate the man pages and to run the unit tests
(ctest --test-dir build/arm64 -L unit).

The headers and libraries come from the Debian release of this machine and are unpacked into
${XENPV_CACHE:-${XDG_CACHE_HOME:-~/.cache}}/xenpv/sysroot/RELEASE-arm64-HASH. --sysroot creates this
directory if it does not exist, prints its name and builds nothing.

XENPV_DEBIAN_MIRROR: the mirror to use instead of deb.debian.org.
Exit status: 0 if the build succeeded, 1 if it failed, 2 if the command line is invalid, 77 if packages
are missing and cannot be installed.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin

fail() {
  echo "cross-build.sh: $*" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=http_proxy,https_proxy "$@"
  else
    fail "unpacking the headers and libraries needs root or sudo; run this script once as root"
  fi
}

release() {
  local VERSION_CODENAME=
  source /etc/os-release
  [[ -n $VERSION_CODENAME ]] || fail "/etc/os-release has no VERSION_CODENAME"
  echo "$VERSION_CODENAME"
}

# Prints the library packages from packages.txt. The target needs only these, because the tools run
# on this machine.
library_packages() {
  "$top/packaging/debian/install-packages.sh" --list build test | grep -E '^lib.*-dev$|-dev$'
}

# relative_links ROOT: makes absolute links relative, because they would point outside ROOT.
relative_links() {
  local root=$1 link target
  as_root find "$root/usr/lib" "$root/usr/include" -lname '/*' -printf '%p %l\n' | while read -r link target; do
    as_root ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$root$target")" "$link"
  done
}

# make_sysroot ARCHITECTURE: creates the sysroot if it is missing and prints its directory.
make_sysroot() {
  local architecture=$1 cache name packages hash mirror=("${XENPV_DEBIAN_MIRROR:-}")
  [[ -n ${mirror[0]} ]] || mirror=()
  packages=$(library_packages | sort | paste -s -d ,)
  hash=$(echo "$packages" | sha256sum | cut -c 1-16)
  cache=${XENPV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/xenpv/sysroot
  name=$cache/$(release)-$architecture-$hash
  mkdir -p "$cache"
  exec {lock}>"$cache/lock"
  flock "$lock"
  if [[ ! -e $name ]]; then
    as_root rm -rf "$name.new"
    if ! as_root mmdebstrap --mode=root --variant=extract --architectures="$architecture" \
      --skip=chroot/mount,check/canmount,check/qemu \
      --include="$packages" "$(release)" "$name.new" "${mirror[@]}" >"$name.log" 2>&1; then
      tail -n 20 "$name.log" >&2
      fail "unpacking the $architecture packages failed; see $name.log"
    fi
    relative_links "$name.new"
    as_root mv "$name.new" "$name"
  fi
  echo "$name"
}

only_sysroot=no
case ${1:-} in
  -h | --help) usage && exit 0 ;;
  --sysroot) only_sysroot=yes && shift ;;
esac
if [[ ${1:-} != arm64 ]]; then
  usage >&2
  exit 2
fi
architecture=$1
shift

"$top/packaging/debian/install-packages.sh" build cross >&2
sysroot=$(make_sysroot "$architecture")
if [[ $only_sysroot == yes ]]; then
  echo "$sysroot"
  exit 0
fi

options=(-DCMAKE_TOOLCHAIN_FILE="$top/packaging/cmake/aarch64-linux-gnu.cmake" -DXENPV_SYSROOT="$sysroot"
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DXENPV_WERROR=ON)
if command -v ccache >/dev/null; then
  options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
fi
targets=()
[[ $# -eq 0 ]] || targets=(--target "$@")
cmake -S "$top" -B "$top/build/$architecture" -G Ninja "${options[@]}"
cmake --build "$top/build/$architecture" "${targets[@]}"
