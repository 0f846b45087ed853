#!/usr/bin/env bash
# Makes a container image of the simulator. See usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/image.sh [--out DIR] [--build DIR]

Makes a container image for tests in a simulated Xen host, as an OCI image layout (default: build/image/oci),
without a container daemon and without container software. It holds a minimal root of this machine's
Debian release with apt, the programs of xenpv, the libraries that they need, xenstore-utils and libnbd-bin.
Its entry point is xenpv-sim:

  skopeo copy oci:build/image/oci docker-daemon:xenpv-sim:latest
  docker run xenpv-sim run --disk xvdb,memory=16M -- xenpv-disk list

Built again from the same commit, with the same packages on the mirror, the image is identical.

  --out DIR     write the layout to DIR, which is replaced if it is a layout
  --build DIR   package this build; by default, the programs are built in build/image/build

Needs python3 and mmdebstrap, which is installed if it is missing, and root, or user namespaces.
XENPV_DEBIAN_MIRROR: the mirror to use instead of the default of mmdebstrap.
Exit status: 0 if the image was made, 1 on failure, 2 if the command line is invalid, 77 if a tool is missing
and cannot be installed, or the mirror cannot be reached.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
out=$top/build/image/oci
build=
programs=(xenpv-sim xenpv-disk xenpv-evtchn xenpv-timer xenpv-ipi xenpv-doctor)
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --out | --build)
      [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
      declare "${1#--}=$(realpath -m "$2")"
      shift
      ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done

fail() {
  echo "image.sh: $*" >&2
  exit 1
}

require() {
  local tool
  for tool in mmdebstrap python3; do
    command -v "$tool" >/dev/null || "$top/packaging/debian/install-packages.sh" image >&2 || true
    command -v "$tool" >/dev/null || {
      echo "image.sh: cannot find $tool; install it" >&2
      exit 77
    }
  done
}

build_programs() {
  local options=(-DCMAKE_BUILD_TYPE=Release -DXENPV_BUILD_TESTS=OFF -DXENPV_BUILD_BENCH=OFF -DXENPV_UNITY=ON
    -DCMAKE_INSTALL_PREFIX=/usr)
  if command -v ccache >/dev/null; then
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  fi
  "$top/packaging/debian/install-packages.sh" build
  cmake -S "$top" -B "$build" -G Ninja "${options[@]}"
  cmake --build "$build"
}

# install_programs DIRECTORY: installs the parts of xenpv that the image contains.
install_programs() {
  local directory=$1 stage=$work/stage name library
  cmake --install "$build" --prefix "$stage/usr" --strip >"$work/install.log" ||
    fail "cannot install $build; is it built?"
  install -D -m 644 "$top/LICENSE" "$directory/usr/share/doc/xenpv/copyright"
  mkdir -p "$directory/usr/bin" "$directory/usr/libexec"
  for name in "${programs[@]}"; do cp "$stage/usr/bin/$name" "$directory/usr/bin/"; done
  cp -r "$stage/usr/libexec/xenpv" "$directory/usr/libexec/"
  # xenpv-sim finds the library relative to itself.
  library=$(cd "$stage/usr" && find . -name libxensim.so)
  install -D -m 755 "$stage/usr/$library" "$directory/usr/$library"
  find "$directory" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# library_packages DIRECTORY: prints the Debian packages of the libraries that the programs there need.
library_packages() {
  local file libraries
  libraries=$(find "$1" -type f -perm -u+x -exec ldd {} + | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u)
  [[ -n $libraries ]] || fail "the programs in $build need no libraries: is it another architecture's build?"
  for file in $libraries; do
    # dpkg may list a library below /lib or /usr/lib, depending on whether its package predates the merge of the two.
    dpkg -S "$file" 2>/dev/null || dpkg -S "/usr$file" 2>/dev/null || dpkg -S "${file#/usr}" 2>/dev/null ||
      fail "no Debian package contains $file"
  done | sed 's/:.*//' | sort -u
}

# make_root DIRECTORY TAR: makes the root file system, with the files in DIRECTORY added.
make_root() {
  local packages release VERSION_CODENAME='' mode=unshare mirror=("${XENPV_DEBIAN_MIRROR:-}")
  [[ -n ${mirror[0]} ]] || mirror=()
  [[ $(id -u) -ne 0 ]] || mode=root
  source /etc/os-release
  release=$VERSION_CODENAME
  packages=$(library_packages "$1" | paste -s -d ,)
  cat >"$work/sources.list" <<TEXT
deb http://deb.debian.org/debian $release main
deb http://deb.debian.org/debian $release-updates main
deb http://deb.debian.org/debian-security $release-security main
TEXT
  tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner -cf "$work/programs.tar" .
  mmdebstrap --mode="$mode" --variant=apt --skip=chroot/mount,check/canmount --format=tar \
    --include="$packages,xenstore-utils,libnbd-bin" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="tar-in $work/programs.tar /" \
    --customize-hook="upload $work/sources.list /etc/apt/sources.list" \
    "$release" "$2" "${mirror[@]}" >"$work/mmdebstrap.log" 2>&1 || {
    tail -n 20 "$work/mmdebstrap.log" >&2
    if grep -qE 'Failed to fetch|Could not (connect|resolve)|Temporary failure' "$work/mmdebstrap.log"; then
      echo "image.sh: the mirror cannot be reached; name another one in XENPV_DEBIAN_MIRROR" >&2
      exit 77
    fi
    fail "mmdebstrap failed"
  }
}

require
[[ ! -e $out || -e $out/oci-layout ]] || fail "$out is not an OCI layout; remove it, or name another directory"
if [[ -z $build ]]; then
  build=$top/build/image/build
  build_programs
fi
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-image-XXXXXX")
trap 'rm -rf "$work"' EXIT
install_programs "$work/programs"
make_root "$work/programs" "$work/root.tar"
version=$("$build/bin/xenpv-sim" --version | sed -n '1s/^xenpv-sim \([^ ]*\).*/\1/p')
python3 "$top/packaging/image/oci_layout.py" "$work/root.tar" "$work/oci" --architecture "$(dpkg --print-architecture)" \
  --version "$version" --revision "$(git -C "$top" rev-parse HEAD)" --created "$SOURCE_DATE_EPOCH"
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$work/oci" "$out"
echo "$out: $(du -sh "$out" | cut -f 1), xenpv-sim $version"
