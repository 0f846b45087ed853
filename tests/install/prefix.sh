#!/usr/bin/env bash
# prefix.sh BUILD WORK LIBDIR: installs BUILD under a prefix other than the configured one, and checks
# that all paths of xenpv in the installed text files exist below it. Then moves the installed tree and
# uses it from there. LIBDIR is relative to the prefix.
set -euo pipefail

build=$1 work=$2/prefix libdir=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The prefix ends in /usr, like the prefix of the distribution's packages, whose paths are in the sources.
prefix=$work/opt/usr
unset XENPV_CUSTODIAN

fail() {
  echo "prefix.sh: $*" >&2
  exit 1
}

# paths FILE: prints the absolute paths in FILE that name an installed file of xenpv. Undoes the escapes of man pages.
paths() {
  sed 's/\\-/-/g' "$1" | grep -oE '/[A-Za-z0-9_./-]*/(bin|libexec|include|lib|share)/[A-Za-z0-9_./-]*xenpv[A-Za-z0-9_./-]*' |
    grep -vE '^/(dev|etc|proc|run|sys|var)/' | sed 's/[.:]*$//' | sort -u || true
}

# check_paths FILE: fails if FILE names a file of xenpv that is not installed below the prefix.
check_paths() {
  local path
  while read -r path; do
    [[ -n $path ]] || continue
    [[ $path == "$prefix"/* ]] || fail "$1 names $path, which is outside the prefix"
    [[ -e $path ]] || fail "$1 names $path, which does not exist"
    checked=$((checked + 1))
  done < <(paths "$1")
}

# expect_path FILE PATH: fails unless FILE, relative to the prefix, names PATH, relative to the prefix.
expect_path() {
  paths "$prefix/$1" | grep -qxF "$prefix/$2" || fail "$1 does not name $prefix/$2"
}

check_text_files() {
  local file checked=0
  while IFS= read -r -d '' file; do
    # The prefix itself is below the build, which may be below the sources.
    # Not grep -q: with pipefail, the SIGPIPE of sed would hide a match.
    ! sed "s|$prefix||g" "$file" | grep "$build\|$(realpath "$here/../..")/" ||
      fail "$file contains a path of the build"
    check_paths "$file"
  done < <(find "$prefix/lib" "$prefix/$libdir" "$prefix/share" -type f ! -name '*.a' ! -name '*.so' \
    ! -path '*/doc/*' -print0)
  echo "$checked paths in text files exist"
  for file in xenpv-disk@ xenpv-serve@ xenpv-disk-metrics; do
    expect_path "lib/systemd/system/$file.service" bin/xenpv-disk
  done
  expect_path lib/systemd/system/xenpv-doctor.service bin/xenpv-doctor
  expect_path share/xenpv/openrc/xenpv-disk bin/xenpv-disk
  expect_path share/xenpv/openrc/xenpv-disk share/xenpv/openrc/xenpv-disk
  expect_path share/man/man7/xenpv-monitoring.7 share/xenpv/grafana/xenpv-disk.json
  expect_path share/man/man7/xenpv-monitoring.7 share/xenpv/prometheus/xenpv-doctor.rules.yml
}

# check_pkg_config PREFIX: fails unless xenpv.pc gives the directories below PREFIX.
check_pkg_config() {
  local variable
  export PKG_CONFIG_PATH=$1/$libdir/pkgconfig
  for variable in prefix= libdir="$libdir" includedir=include; do
    [[ $(realpath "$(pkg-config --variable="${variable%%=*}" xenpv)") == "$(realpath "$1/${variable#*=}")" ]] ||
      fail "xenpv.pc: ${variable%%=*} is $(pkg-config --variable="${variable%%=*}" xenpv)"
  done
}

# build_with_pkg_config PREFIX: builds and runs the consumer against the tree in PREFIX.
build_with_pkg_config() {
  local flags output
  check_pkg_config "$1"
  flags=$(pkg-config --cflags --libs xenpv)
  # shellcheck disable=SC2086  # split into flags
  "$CXX" -std=c++20 "$here/consumer/main.cpp" $flags -o "$work/consumer"
  output=$(XENPV_CUSTODIAN=$1/libexec/xenpv/xenpv-custodian "$work/consumer") || fail "the consumer failed: $output"
  [[ $output == "port 7 of domain 5: Connected, ran dry" ]] || fail "the consumer printed: $output"
}

# serve_disk PREFIX: serves a simulated disk with the programs in PREFIX, whose custodian and simulator
# library must be found relative to them.
serve_disk() {
  local output
  # shellcheck disable=SC2016  # expanded in the guest
  output=$("$1/bin/xenpv-sim" run --disk xvdb,memory=16M -- "$1/bin/xenpv-disk" run xvdb -- sh -c 'echo "$uri"') ||
    fail "cannot serve a simulated disk with the programs in $1: $output"
  [[ $output == *nbd+unix://* ]] || fail "xenpv-disk run printed: $output"
}

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$prefix" >"$work/install.log"
# Twice, as for an upgrade.
cmake --install "$build" --prefix "$prefix" >>"$work/install.log"
check_text_files
check_pkg_config "$prefix"
serve_disk "$prefix"

mv "$work/opt" "$work/moved"
build_with_pkg_config "$work/moved/usr"
serve_disk "$work/moved/usr"

# A package is built in a directory that does not become part of the paths.
DESTDIR=$work/destination cmake --install "$build" --prefix /opt/other >>"$work/install.log"
grep -q '^ExecStart=!*/opt/other/bin/xenpv-disk serve' "$work/destination/opt/other/lib/systemd/system/xenpv-serve@.service" ||
  fail "with DESTDIR, xenpv-serve@.service does not start /opt/other/bin/xenpv-disk"

# A relative prefix is relative to the current directory.
(cd "$work" && cmake --install "$build" --prefix relative >>"$work/install.log")
grep -q "^program=$work/relative/bin/xenpv-disk$" "$work/relative/share/xenpv/openrc/xenpv-disk" ||
  fail "with a relative prefix, the OpenRC script does not start $work/relative/bin/xenpv-disk"
rm -rf "$work/destination" "$work/relative"
