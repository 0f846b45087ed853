#!/usr/bin/env bash
# Builds Debian packages from a checkout. See usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/deb.sh [--release bookworm|trixie [--root DIR]] [--arch arm64] [--working-tree]
                        [--revision N] [--out DIR] [--vary]
       packaging/deb.sh --check-dependencies

Builds the source package and the binary packages of the last commit in DIR (default: build/deb, with
--release build/deb/RELEASE) with dpkg-buildpackage:

  xenpv          the programs without the simulator, systemd units, man pages, shell completion
  xenpv-sim      the simulator
  libxenpv-dev   headers, static libraries, CMake and pkg-config files, examples
  libxenpv-doc   reference documentation of the headers

and packages with debugging symbols. tests/platforms/packages.sh tests them.

The version is the one in CMakeLists.txt. As long as packaging/CHANGELOG.md calls it unreleased, the
time and the name of the commit are appended, so that the release is newer than all such packages.

  --release RELEASE      build in a minimal chroot of this Debian release, as an ordinary user, with the
                         packages in debian/control only; needs root. Default: build on this system,
                         and install missing packages
  --root DIR             keep the chroot in DIR, or reuse the one that an earlier run left there
  --arch arm64           cross-build the packages for ARM64, without libxenpv-doc and the source; needs
                         --release
  --working-tree         include changes that have not been committed
  --revision N           Debian revision (default: 1)
  --out DIR              write the packages to DIR
  --vary                 build in another directory, time zone, locale and with another umask: the
                         packages must be identical nevertheless
  --check-dependencies   only check that debian/control and packages.txt require the same packages

DEBFULLNAME, DEBEMAIL: the maintainer of the packages (default: the author of the last commit).
CCACHE_DIR: use ccache with the directory `deb` in this one.
XENPV_DEBIAN_MIRROR: the mirror for the chroot (default: the one of mmdebstrap).
Exit status: 0 if the packages were built, 1 if not, 2 if the command line is invalid, 77 if something
is missing that cannot be installed.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$top/tests/platforms/chroot.sh"

release='' architecture='' out='' revision=1
working_tree=no vary=no only_check=no
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --working-tree) working_tree=yes ;;
    --vary) vary=yes ;;
    --check-dependencies) only_check=yes ;;
    --release | --root | --arch | --revision | --out)
      [[ $# -ge 2 ]] || misused
      case $1 in
        --release) release=$2 ;;
        --root) root=$(realpath -m "$2") && keep=yes ;;
        --arch) architecture=$2 ;;
        --revision) revision=$2 ;;
        --out) out=$(realpath -m "$2") ;;
      esac
      shift
      ;;
    *) misused ;;
  esac
  shift
done
[[ $release =~ ^(|bookworm|trixie)$ && $architecture =~ ^(|amd64|arm64)$ && $revision =~ ^[0-9a-z.+~]+$ ]] || misused
[[ -n $release || ($keep == no && -z $architecture) ]] || misused
[[ $architecture != $(dpkg --print-architecture) ]] || architecture=
out=${out:-$top/build/deb${release:+/$release}${architecture:+-$architecture}}

# build_dependencies: prints each group of alternatives in Build-Depends and Build-Depends-Indep as
# " PACKAGE PACKAGE ... ", without versions.
build_dependencies() {
  awk '/^[^ #]/ { inside = /^Build-Depends/ } inside' "$top/packaging/debian/control" |
    sed 's/^Build-Depends[^:]*://; s/([^)]*)//g; s/<[^>]*>//g; s/:native//g; s/|/ /g' | tr -s ' \n' ' ' |
    tr , '\n' | sed 's/^ */ /; s/ *$/ /'
}

# check_dependencies: compares Build-Depends with packages.txt, for each release.
check_dependencies() {
  local list="$top/packaging/debian/install-packages.sh --list --release" name wanted group problems=0
  for name in bookworm trixie; do
    wanted=" $($list "$name" build deb cross | tr '\n' ' ')"
    while read -r -a group; do
      # debhelper provides these; build-essential is implied.
      [[ ${group[0]} != debhelper-compat && ${group[0]} != dh-sequence-* ]] || group=(debhelper)
      local alternative found=no
      for alternative in "${group[@]}"; do
        [[ $wanted != *" $alternative "* ]] || found=yes
      done
      if [[ $found == no ]]; then
        echo "deb.sh: debian/control requires ${group[*]}, which packages.txt lacks for $name" >&2
        problems=$((problems + 1))
      fi
    done < <(build_dependencies)
    local package
    for package in $($list "$name" build deb); do
      [[ $package != build-essential && $package != debhelper ]] || continue
      if ! build_dependencies | grep -qF " $package "; then
        echo "deb.sh: packages.txt has $package for $name, which Build-Depends in debian/control lacks" >&2
        problems=$((problems + 1))
      fi
    done
  done
  [[ $problems -eq 0 ]] || fail "make debian/control and packages.txt agree"
}

# set_version: sets upstream_version and version.
set_version() {
  local number commit changes
  # Not a pipe to grep -q: with pipefail, a git that gets SIGPIPE would look like a missing heading.
  changes=$(git -C "$top" show HEAD:packaging/CHANGELOG.md)
  number=$(sed -n 's/^project(xenpv VERSION \([0-9.]*\).*/\1/p' "$top/CMakeLists.txt")
  [[ -n $number ]] || fail "cannot find the version in CMakeLists.txt"
  upstream_version=$number
  if [[ $working_tree == yes ]] ||
    ! grep -qE "^## ${number//./\\.} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)\$" <<<"$changes"; then
    commit=$(TZ=UTC git -C "$top" log -1 --format=%cd.%h --abbrev=8 --date=format-local:%Y%m%d.%H%M%S)
    upstream_version+=~git$commit
    [[ $working_tree == no ]] || upstream_version+=+dirty
  fi
  version=$upstream_version-$revision
  # Newer in newer releases, so that packages are replaced when the system is upgraded.
  case $release in
    bookworm) version+=~deb12 ;;
    trixie) version+=~deb13 ;;
  esac
}

# export_sources DIRECTORY: creates the original tarball and the unpacked source package in DIRECTORY.
export_sources() {
  local name=xenpv-$upstream_version tree maintainer
  local tarball=$1/xenpv_$upstream_version.orig.tar.gz
  if [[ $working_tree == yes ]]; then
    (cd "$top" && git ls-files -coz --exclude-standard --deduplicate | while read -r -d '' file; do
      [[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"
    done | tar --null --no-recursion --files-from=- --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
      --numeric-owner --mode=u+rw,go+r-w --transform "s,^,$name/," -c) | gzip -n9 >"$tarball"
  else
    git -C "$top" archive --prefix="$name/" HEAD | gzip -n9 >"$tarball"
  fi
  tar -C "$1" -xzf "$tarball"
  tree=$1/$name
  cp -R "$tree/packaging/debian" "$tree/debian"
  rm "$tree/debian/install-packages.sh" "$tree/debian/packages.txt"
  maintainer="${DEBFULLNAME:-$(git -C "$top" log -1 --format=%an)} <${DEBEMAIL:-$(git -C "$top" log -1 --format=%ae)}>"
  sed -i "/^#/d; s|@MAINTAINER@|${maintainer//[|&\\]/}|" "$tree/debian/control"
  cat >"$tree/debian/changelog" <<CHANGELOG
xenpv ($version) ${release:-unstable}; urgency=medium

  * Build of $upstream_version.

 -- $maintainer  $(date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
CHANGELOG
}

# build_command: prints the command that builds the package in the current directory.
build_command() {
  local command="dpkg-buildpackage -us -uc" environment='LC_ALL=C.UTF-8'
  [[ $architecture == '' ]] || command+=" -B -a$architecture -Pcross,nocheck"
  [[ $vary == no ]] || environment='LC_ALL=POSIX TZ=Asia/Kathmandu'
  if [[ -n ${CCACHE_DIR:-} && $vary == no ]]; then
    environment+=" CCACHE_DIR=${1:-$CCACHE_DIR/deb} CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache"
    environment+=" CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime"
  fi
  [[ $vary == no ]] || command="sh -c 'umask 027 && $command'"
  echo "env -u CCACHE_DISABLE $environment $command"
}

build_here() {
  local work
  "$top/packaging/debian/install-packages.sh" build deb
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-deb-XXXXXX")
  remove_at_exit+=("$work")
  export_sources "$work"
  (cd "$work/xenpv-$upstream_version" && eval "$(build_command)") >"$out/build.log" 2>&1 || build_failed
  collect "$work"
}

build_in_chroot() {
  local place=/build options='' extra='' cache=
  [[ $vary == no ]] || place=/var/tmp/another/place
  make_chroot
  rm -rf "${root:?}$place"
  mkdir -p "$root$place"
  export_sources "$root$place"
  if [[ -n $architecture ]]; then
    options="-a $architecture -P cross,nocheck --arch-only"
    extra="crossbuild-essential-$architecture"
  fi
  if [[ -n ${CCACHE_DIR:-} && $vary == no ]]; then
    cache=/var/cache/xenpv-ccache
    extra+=" ccache"
    mkdir -p "$CCACHE_DIR/deb"
    shared_directories=("$CCACHE_DIR/deb:$cache")
  fi
  # Only the essential packages and those in debian/control; the user is not root, as in Debian's own builds.
  # shellcheck disable=SC2016  # expanded by the shell in the chroot
  inside "set -e
    export DEBIAN_FRONTEND=noninteractive
    ${architecture:+dpkg --add-architecture $architecture}
    apt-get -q update
    apt-get -q -y --no-install-recommends install build-essential adduser $extra
    cd $place/xenpv-$upstream_version
    apt-get -q -y --no-install-recommends $options build-dep ./
    id builder || useradd --create-home builder
    ${cache:+chown builder $cache}
    chown -R builder $place" >"$out/packages.log" 2>&1 ||
    fail "cannot install the packages that debian/control requires; see $out/packages.log"
  inside "cd $place/xenpv-$upstream_version
    su builder -c $(printf %q "$(build_command "$cache")")" >"$out/build.log" 2>&1 || build_failed
  collect "$root$place"
}

build_failed() {
  tail -n 40 "$out/build.log" | cut -c 1-300 >&2
  fail "the build failed; see $out/build.log"
}

# collect DIRECTORY: moves the packages from DIRECTORY to $out.
collect() {
  find "$1" -maxdepth 1 -type f -exec mv -t "$out" {} +
  chown -R "$(id -u):$(id -g)" "$out"
  rm -rf "${1:?}"
}

check_dependencies
[[ $only_check == no ]] || exit 0
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct)
set_version
mkdir -p "$out"
find "$out" -maxdepth 1 -type f \( -name '*xenpv*' -o -name '*.log' \) -delete
if [[ -n $release ]]; then
  build_in_chroot
else
  build_here
fi
echo "$out contains:"
(cd "$out" && ls -1 -- *.deb)
