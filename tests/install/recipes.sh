#!/usr/bin/env bash
# recipes.sh BUILD WORK: checks that the RPM spec and Alpine's APKBUILD agree with the tree: versions, build
# dependencies, and the files that BUILD installs. Runs the functions of APKBUILD on these files. Builds no package.
set -Eeuo pipefail

build=$1 work=$2/recipes
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(realpath "$here/../..")
spec=$top/packaging/rpm/xenpv.spec
apkbuild=$top/packaging/alpine/APKBUILD

fail() {
  echo "recipes.sh: $*" >&2
  exit 1
}

# Debian's build dependencies, as in packaging/debian/packages.txt, with Fedora's and Alpine's names for them. Alpine's
# package abuild requires a compiler and pkgconf.
names() {
  cat <<'END_OF_NAMES'
build-essential       gcc-c++            -
cmake                 cmake              cmake
libboost-dev          boost-devel        boost-dev
libcli11-dev          cli11-devel        cli11-dev
libfmt-dev            fmt-devel          fmt-dev
libseccomp-dev        libseccomp-devel   libseccomp-dev
libspdlog-dev         spdlog-devel       spdlog-dev
libssl-dev            openssl-devel      openssl-dev
liburing-dev          liburing-devel     liburing-dev
libxen-dev            xen-devel          xen-dev
ninja-build           ninja-build        samurai
nlohmann-json3-dev    json-devel         nlohmann-json
pkgconf               pkgconf-pkg-config -
END_OF_NAMES
}

# same_lists WHAT EXPECTED FOUND: fails unless both lists contain the same lines.
same_lists() {
  diff <(sort -u <<<"$2") <(sort -u <<<"$3") || fail "$1 differ (<: expected, >: found)"
}

test_versions() {
  local expected
  expected=$(sed -n 's/^project(xenpv VERSION \([^ ]*\).*/\1/p' "$top/CMakeLists.txt")
  [[ -n $expected ]] || fail "CMakeLists.txt has no version"
  [[ $(sed -n 's/^Version: *//p' "$spec") == "$expected" ]] || fail "the spec has another version than CMakeLists.txt"
  [[ $(sed -n 's/^pkgver=//p' "$apkbuild") == "$expected" ]] || fail "APKBUILD has another version than CMakeLists.txt"
}

test_dependencies() {
  local debian alpine
  # The name of Boost depends on the release.
  debian=$(awk '!/^#/ && $2 == "build" && $3 != "bookworm" { print $1 }' "$top/packaging/debian/packages.txt")
  same_lists "packages.txt and the names in this test" "$debian" "$(names | awk '{ print $1 }')"
  same_lists "BuildRequires" "$(names | awk '{ print $2 }' && echo systemd-rpm-macros)" \
    "$(sed '/^%if/,/^%endif/d' "$spec" | sed -n 's/^BuildRequires: *\([^ ]*\).*/\1/p')"
  # shellcheck disable=SC1090,SC2154
  alpine=$(source "$apkbuild" && xargs -n 1 <<<"$makedepends")
  same_lists "makedepends" "$(names | awk '$3 != "-" { print $3 }' && printf '%s\n' doxygen linux-headers)" "$alpine"
}

# installed: prints the installed files, relative to the root.
installed() {
  (cd "$work/tree" && find . ! -type d -printf '/%P\n')
}

# spec_patterns: prints the paths in the %files sections as patterns of find. %exclude and %doc are left out.
spec_patterns() {
  sed -n '/^%files/,$p' "$spec" | sed -e '/^%files/d; /^%if/d; /^%endif/d; /^%license/d; /^%doc/d; /^%exclude/d; /^$/d' \
    -e '/^%dir/d' -e "s|%{completions}|/usr/share/bash-completion/completions|; s|%{_bindir}|/usr/bin|
      s|%{_libexecdir}|/usr/libexec|; s|%{_unitdir}|/usr/lib/systemd/system|; s|%{_udevrulesdir}|/usr/lib/udev/rules.d|
      s|%{_sysusersdir}|/usr/lib/sysusers.d|; s|%{_datadir}|/usr/share|; s|%{_mandir}|/usr/share/man|
      s|%{_libdir}|/usr/$libdir|; s|%{_includedir}|/usr/include|; s|%{_docdir}|/usr/share/doc|; s|/\$|/*|"
}

# Each installed file must be in a package, and each line of %files must name a file.
test_spec_files() {
  local files pattern path found rest
  files=$(installed | grep -v '^/usr/share/xenpv/openrc/')
  rest=$files
  while read -r pattern; do
    found=no
    [[ $pattern != *%* ]] || fail "this test does not know the macro in $pattern"
    # Another target builds the documentation.
    [[ $pattern != */doc/xenpv/html/* ]] || continue
    while read -r path; do
      # shellcheck disable=SC2053  # a pattern
      [[ $path == $pattern ]] || continue
      found=yes
      rest=$(grep -vxF "$path" <<<"$rest" || true)
    done <<<"$files"
    [[ $found == yes ]] || fail "$pattern in %files matches no installed file"
  done < <(spec_patterns)
  rest=$(grep -v '^/usr/share/doc/xenpv/html/' <<<"$rest" || true)
  [[ -z $rest ]] || fail "installed files are in no package: $rest"
}

# The abuild functions that APKBUILD uses. The test has already run `cmake --install build`.
cmake() { cp -a "$work/tree/." "$DESTDIR"; }
amove() {
  local file
  for file in "$@"; do
    [[ -e $pkgdir/$file ]] || fail "APKBUILD moves $file, which is not installed"
    mkdir -p "$subpkgdir/${file%/*}"
    mv "$pkgdir/$file" "$subpkgdir/$file"
  done
}

test_alpine_files() {
  local pkgdir=$work/alpine subpkgdir=$work/alpine-sim rest
  mkdir -p "$pkgdir" "$subpkgdir"
  # Not followed by ||, which would ignore failures in the functions.
  (
    cd "$top"
    # shellcheck disable=SC1090
    source "$apkbuild"
    package
    sim
  )
  sh -n "$pkgdir/etc/init.d/xenpv-disk" || fail "the service is no shell script"
  [[ -x $pkgdir/etc/init.d/xenpv-disk ]] || fail "the service is not executable"
  grep -q '^program=/usr/bin/xenpv-disk$' "$pkgdir/etc/init.d/xenpv-disk" || fail "the service starts another program"
  for file in usr/bin/xenpv-disk usr/libexec/xenpv/xenpv-custodian usr/share/licenses/xenpv/LICENSE \
    usr/include/xenpv/base/error.hpp usr/share/man/man1/xenpv-disk.1; do
    [[ -e $pkgdir/$file ]] || fail "Alpine's package lacks $file"
  done
  [[ -x $subpkgdir/usr/bin/xenpv-sim ]] || fail "the package xenpv-sim lacks the program"
  rest=$(find "$pkgdir" \( -path '*systemd*' -o -path '*sysusers*' -o -path '*/usr/bin/xenpv-sim' -o -name 'libxensim*' \))
  [[ -z $rest ]] || fail "Alpine's package xenpv contains $rest"
}

trap 'echo "recipes.sh: line $LINENO failed" >&2' ERR
libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' "$build/CMakeCache.txt")
rm -rf "$work"
mkdir -p "$work"
DESTDIR=$work/tree command cmake --install "$build" --prefix /usr >"$work/install.log"
# Alpine's libraries are in lib.
[[ $libdir == lib ]] || { mkdir -p "$work/tree/usr/lib" && ln -s "../$libdir/xenpv" "$work/tree/usr/lib/xenpv"; }
bash -n "$apkbuild"
test_versions
test_dependencies
test_spec_files
test_alpine_files
rm -rf "$work"
