#!/usr/bin/env bash
# Builds RPM packages from a checkout. See usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/rpm.sh [--out DIR] [--check-only] [RPMBUILD-OPTION...]

Builds source and binary packages of the last commit in DIR (default: build/rpm) with rpmbuild, checks
how the installed files are divided among the packages, and runs rpmlint. On Debian, the missing ones of
the packages rpm, rpmlint and doxygen are installed. RPMBUILD-OPTIONs are passed on, such as
`--with tests` or `--without docs`; see packaging/rpm/xenpv.spec.

On a system without Fedora's packages, rpmbuild cannot check the build dependencies (--nodeps): if one is
missing, cmake reports it.

  --out DIR      write the packages and the log to DIR, which must be empty or contain only such files
  --check-only   check the packages in DIR; build nothing

Set CCACHE_DIR to use ccache. Exit status: 0 if everything succeeded, 1 if the build or a check failed,
2 if the command line is invalid, 77 if a tool is missing and cannot be installed.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$top/packaging/rpm
out=$top/build/rpm
build=yes
options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --check-only) build=no ;;
    --out)
      [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
      out=$2
      shift
      ;;
    *) options+=("$1") ;;
  esac
  shift
done

fail() {
  echo "rpm.sh: $*" >&2
  exit 1
}

require_tools() {
  local tool
  for tool in rpmbuild rpmlint; do
    command -v "$tool" >/dev/null || "$top/packaging/debian/install-packages.sh" build rpm >&2 || true
    command -v "$tool" >/dev/null || {
      echo "rpm.sh: cannot find $tool: install the packages rpm-build and rpmlint" >&2
      exit 77
    }
  done
}

build_packages() {
  local version work
  version=$(sed -n 's/^Version: *//p' "$here/xenpv.spec")
  [[ -z $(git -C "$top" status --porcelain) ]] ||
    echo "rpm.sh: warning: uncommitted changes are not packaged" >&2
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-rpm-XXXXXX")
  # shellcheck disable=SC2064  # the directory is known now
  trap "rm -rf '$work'" EXIT
  git -C "$top" archive --prefix="xenpv-$version/" HEAD | gzip -n9 >"$work/xenpv-$version.tar.gz"
  git -C "$top" show HEAD:packaging/rpm/xenpv.spec >"$work/xenpv.spec"

  if [[ -n ${CCACHE_DIR:-} ]] && command -v ccache >/dev/null; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=yes
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  fi
  if [[ ! -r /etc/fedora-release ]]; then
    # Debian's script to compress man pages names sh, but needs bash.
    options+=(--nodeps --define "__brp_compress bash %{_rpmconfigdir}/brp-compress %{?_prefix}")
  fi
  SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct)
  export SOURCE_DATE_EPOCH
  mkdir -p "$out"
  rm -f "$out"/*.rpm
  rpmbuild -ba --define "_topdir $work/rpmbuild" --define "_sourcedir $work" --define "_rpmdir $out" \
    --define "_srcrpmdir $out" --define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
    --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" "${options[@]}" "$work/xenpv.spec" >"$out/rpmbuild.log" 2>&1 || {
    tail -n 40 "$out/rpmbuild.log" >&2
    fail "rpmbuild failed; see $out/rpmbuild.log"
  }
}

# package NAME: prints the file name of a binary package.
package() {
  local files=("$out/$1"-[0-9]*.rpm) file
  for file in "${files[@]}"; do
    if [[ -e $file && $file != *.src.rpm ]]; then
      echo "$file"
      return
    fi
  done
  fail "there is no package $1 in $out"
}

# contains NAME PATTERN...: fails unless each extended regular expression matches a file of the package.
contains() {
  local name=$1 pattern files
  shift
  files=$(rpm -qlp "$(package "$name")")
  for pattern in "$@"; do
    grep -qE "^$pattern\$" <<<"$files" || fail "$name contains no file $pattern"
  done
}

# lacks NAME PATTERN: fails if the extended regular expression matches a file of the package.
lacks() {
  local found
  found=$(rpm -qlp "$(package "$1")" | grep -E "^$2\$" || true)
  [[ -z $found ]] || fail "$1 must not contain $found"
}

check_packages() {
  local shared
  contains xenpv /usr/bin/xenpv-{disk,doctor,evtchn,ipi,timer} /usr/libexec/xenpv/xenpv-custodian \
    '/usr/lib/systemd/system/xenpv-disk@.service' /usr/lib/udev/rules.d/70-xenpv.rules \
    /usr/lib/sysusers.d/xenpv.conf /usr/share/bash-completion/completions/xenpv-disk \
    /usr/share/man/man1/xenpv-{disk,doctor,evtchn,ipi,timer}.1.gz
  lacks xenpv '.*(xenpv-sim|libxensim|openrc|\.hpp|\.a)'
  contains xenpv-sim /usr/bin/xenpv-sim '/usr/lib.*/xenpv/libxensim.so' /usr/share/man/man1/xenpv-sim.1.gz
  contains xenpv-devel '/usr/include/xenpv/blk/.*\.hpp' '/usr/lib.*/libxenpv_nbd.a' '/usr/lib.*/pkgconfig/xenpv.pc' \
    '/usr/lib.*/cmake/xenpv/xenpvConfig.cmake' '/usr/share/doc/xenpv/examples/.*\.cpp'
  lacks xenpv-devel '/usr/bin/.*'
  if [[ " ${options[*]} " != *" --without docs "* ]]; then
    contains xenpv-doc /usr/share/doc/xenpv/html/index.html
  fi
  # No file may be in two packages. Directories and licences may.
  shared=$(for file in "$out"/*.rpm; do
    [[ $file == *.src.rpm ]] || rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$file"
  done | grep -v '^d' | grep -v '/licenses/' | sort | uniq -d)
  [[ -z $shared ]] || fail "files are in two packages: $shared"
  rpmlint --strict --config "$here/rpmlint.toml" --ignore-unused-rpmlintrc --rpmlintrc "$here/xenpv.rpmlintrc" \
    "$out"/*.rpm || fail "rpmlint has findings"
}

require_tools
[[ $build == no ]] || build_packages
check_packages
ls "$out"/*.rpm
