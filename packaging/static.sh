#!/usr/bin/env bash
# Builds the statically linked program xenpv and packs it; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/static.sh [--build DIR] [--out DIR]
       packaging/static.sh [--build DIR] --program

Builds xenpv, one statically linked program that contains xenpv-disk, xenpv-doctor, xenpv-evtchn,
xenpv-ipi and xenpv-timer, tests it and packs it, for systems that run from RAM. Prints its size, and
fails if that exceeds 6 MB. Installs missing packages (as root or with sudo).

  --build DIR  build in DIR instead of build/static
  --out DIR    write xenpv-VERSION-static-ARCHITECTURE.tar.gz to DIR instead of build/
  --program    only build and strip the program, and print its path

The archive contains bin/ (the program and its links), the man pages, and the licences of the
libraries in the program. It can be unpacked anywhere, such as in /usr/local. SOURCE_DATE_EPOCH sets the times in it.
OpenSSL is built from its source package (see static-openssl.sh), all other libraries are Debian's.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build/static out=$top/build
limit=6000000
# The packages with the code in the program; their licences are in the archive.
contained=(libc6-dev 'libstdc++-*-dev' libxen-dev libssl-dev liburing-dev libseccomp-dev libfmt-dev
  libspdlog-dev 'libboost1*-dev' nlohmann-json3-dev libcli11-dev)

fail() {
  echo "static.sh: $*" >&2
  exit 1
}

parse_options() {
  only_program=
  while [[ $# -gt 0 ]]; do
    case $1 in
      --build | --out)
        [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
        if [[ $1 == --build ]]; then build=$(realpath -m "$2"); else out=$(realpath -m "$2"); fi
        shift
        ;;
      --program) only_program=yes ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && exit 2 ;;
    esac
    shift
  done
}

# run NAME COMMAND...: shows the output, in NAME.log, only if the command fails.
run() {
  local log=$build/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    fail "failed; see $log: $*"
  }
}

build_program() {
  mkdir -p "$build"
  "$top/packaging/debian/install-packages.sh" build static >"$build/packages.log" 2>&1 ||
    echo "static.sh: cannot install missing packages; see $build/packages.log" >&2
  openssl=$("$top/packaging/static-openssl.sh" "$build/openssl")
  run configure cmake -S "$top" -B "$build" -G Ninja -DXENPV_STATIC=ON -DXENPV_UNITY=ON -DXENPV_WERROR=ON \
    -DOPENSSL_ROOT_DIR="$openssl"
  run compile cmake --build "$build" --target xenpv
  program=$build/stripped/xenpv
  mkdir -p "${program%/*}"
  strip -s -o "$program" "$build/bin/xenpv"
}

check_size() {
  local size
  size=$(stat -c %s "$program")
  echo "xenpv: $size bytes, with OpenSSL $(cat "$openssl/version")" >&2
  [[ $size -le $limit ]] || fail "the program has $size bytes; the limit is $limit"
}

copy_licences() {
  local tree=$1 name path found
  mkdir -p "$tree/share/doc/xenpv/licences"
  cp "$top/LICENSE" "$tree/share/doc/xenpv/"
  for name in "${contained[@]}"; do
    found=
    # shellcheck disable=SC2086  # a pattern
    for path in /usr/share/doc/$name/copyright; do
      [[ ! -e $path ]] || { cp -L "$path" "$tree/share/doc/xenpv/licences/$(basename "${path%/copyright}")" && found=yes; }
    done
    [[ $found == yes ]] || fail "no licence of $name in /usr/share/doc; dpkg may exclude that directory"
  done
}

pack() {
  local tree version archive name
  version=$("$program" --version | awk '{ print $2; exit }')
  archive=$out/xenpv-$version-static-$(dpkg --print-architecture).tar.gz
  tree=$(mktemp -d "$build/tree-XXXXXX")
  # shellcheck disable=SC2064  # expand now
  trap "rm -rf '$tree'" EXIT
  chmod 755 "$tree"
  mkdir -p "$tree/bin" "$tree/share/man"/man{1,5,7} "$out"
  cp "$program" "$tree/bin/xenpv"
  "$tree/bin/xenpv" --install "$tree/bin"
  "$program" --help-man >"$tree/share/man/man1/xenpv.1"
  for name in $("$program" --list); do
    "$program" "$name" --help-man >"$tree/share/man/man1/$name.1"
  done
  cp "$top"/packaging/man/*.5 "$tree/share/man/man5/"
  cp "$top"/packaging/man/*.7 "$tree/share/man/man7/"
  rm -f "$tree/share/man/man7/xenpv-sim-testing.7"
  copy_licences "$tree"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX --mtime="@$(source_date)" \
    -C "$tree" -cf - . | gzip -9n >"$archive"
  echo "$archive"
}

# source_date: the time of the last commit, or 1970 in a tree without git.
source_date() {
  echo "${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 0)}"
}

parse_options "$@"
build_program
check_size
if [[ -n $only_program ]]; then
  echo "$program"
  exit 0
fi
run test ctest --test-dir "$build" --output-on-failure --no-tests=error -L static
! grep -q 'static\.bare_root (Skipped)' "$build/test.log" ||
  echo "static.sh: warning: not tested in a root without other files; see $build/Testing/Temporary/LastTest.log" >&2
pack
