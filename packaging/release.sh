#!/usr/bin/env bash
# Makes a release from a checkout. See usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/release.sh VERSION --tests-passed|--run-tests [--sign] [--no-packages] [--out DIR]
       packaging/release.sh VERSION --dry-run

Checks that the last commit can be released as VERSION, writes the release to DIR (default:
build/release/VERSION, which must not exist), and finally tags the commit as vVERSION. Pushes nothing.

The release consists of the source tarball, the packages that deb.sh, rpm.sh, static.sh and image.sh make,
APKBUILD with the tarball's checksum, NOTES.md (the section of packaging/CHANGELOG.md) and SHA256SUMS.

  --dry-run        only check, and print what would be done
  --tests-passed   all tests have passed on this commit, as described in CONTRIBUTING.md
  --run-tests      run tests/run.sh first
  --sign           sign the tag (git tag --sign)
  --no-packages    make no packages
  --out DIR        write to DIR

Exit status: 0 if the release was made, 1 if a check or a step failed (no tag is created then), 2 if the
command line is invalid.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry_run=no tests=unknown sign=no packages=yes out='' version=''
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --dry-run) dry_run=yes ;;
    --tests-passed) tests=passed ;;
    --run-tests) tests=run ;;
    --sign) sign=yes ;;
    --no-packages) packages=no ;;
    --out)
      [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
      out=$(realpath -m "$2")
      shift
      ;;
    -*) usage >&2 && exit 2 ;;
    *)
      [[ -z $version ]] || { usage >&2 && exit 2; }
      version=$1
      ;;
  esac
  shift
done
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { usage >&2 && exit 2; }
[[ $dry_run == yes || $tests != unknown ]] || { usage >&2 && exit 2; }
out=${out:-$top/build/release/$version}
tag=v$version
name=xenpv-$version
problems=0
cd "$top"

fail() {
  echo "release.sh: $*" >&2
  exit 1
}

problem() {
  echo "release.sh: $*" >&2
  problems=$((problems + 1))
}

# notes: prints the section of this version in the changelog, without its heading.
notes() {
  awk -v heading="## $version " '
    index($0, heading) == 1 { inside = 1; next }
    /^## / { inside = 0 }
    inside' packaging/CHANGELOG.md | sed '/./,$!d'
}

# expect_version FILE EXPRESSION: EXPRESSION is the sed command that prints the version in FILE.
expect_version() {
  local found
  found=$(sed -n "$2" "$1")
  [[ $found == "$version" ]] || problem "$1 has version ${found:-(none)}; set it to $version"
}

check() {
  local heading
  [[ -z $(git status --porcelain) ]] || problem "there are uncommitted changes; commit or remove them"
  ! git rev-parse -q --verify "refs/tags/$tag" >/dev/null || problem "the tag $tag exists already"
  expect_version CMakeLists.txt 's/^project(xenpv VERSION \([^ ]*\).*/\1/p'
  expect_version packaging/rpm/xenpv.spec 's/^Version: *//p'
  expect_version packaging/alpine/APKBUILD 's/^pkgver=//p'
  heading=$(grep -F -m 1 "## $version " packaging/CHANGELOG.md || true)
  if [[ ! $heading =~ ^"## $version ("[0-9]{4}-[0-9]{2}-[0-9]{2}")"$ ]]; then
    problem "packaging/CHANGELOG.md needs the heading '## $version (YYYY-MM-DD)'; it has '$heading'"
  elif [[ -z $(notes) ]]; then
    problem "packaging/CHANGELOG.md says nothing about $version"
  fi
  [[ ! -e $out ]] || problem "$out exists already; remove it, or name another directory with --out"
  [[ $problems -eq 0 ]] || fail "$problems checks failed; nothing was released"
}

# with_script SCRIPT COMMAND...: runs COMMAND if the script exists.
with_script() {
  [[ -x packaging/$1 ]] || return 0
  echo "== $1"
  shift
  "$@"
}

make_tarball() {
  git archive --prefix="$name/" HEAD | gzip -n9 >"$out/$name.tar.gz"
}

make_image() {
  packaging/image.sh --out "$out/oci"
  tar -C "$out/oci" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    -cf "$out/xenpv-sim-$version-oci.tar" .
  rm -r "$out/oci"
}

make_packages() {
  with_script deb.sh packaging/deb.sh --out "$out/debian"
  with_script rpm.sh packaging/rpm.sh --out "$out/rpm"
  mkdir -p "$out/static"
  with_script static.sh packaging/static.sh --out "$out/static"
  with_script image.sh make_image
}

# Alpine's build checks the tarball against a checksum that the tarball itself cannot contain.
write_apkbuild() {
  local sum
  sum=$(cd "$out" && sha512sum "$name.tar.gz")
  sed '/^# packaging.release.sh writes /,$d' packaging/alpine/APKBUILD >"$out/APKBUILD"
  printf 'sha512sums="\n%s\n"\n' "$sum" >>"$out/APKBUILD"
  cp packaging/alpine/xenpv.pre-install "$out"
}

write_sums() {
  local files
  mapfile -t files < <(cd "$out" && find . -type f ! -name '*.log' -printf '%P\n' | LC_ALL=C sort)
  (cd "$out" && sha256sum "${files[@]}" >SHA256SUMS)
}

create_tag() {
  local options=(--annotate)
  [[ $sign == no ]] || options=(--sign)
  { printf 'xenpv %s\n\n' "$version" && cat "$out/NOTES.md"; } |
    git tag "${options[@]}" --cleanup=verbatim --file=- "$tag" HEAD
}

check
if [[ $dry_run == yes ]]; then
  echo "would release $(git rev-parse --short HEAD) as $tag, in $out, with these notes:"
  echo
  notes
  exit 0
fi
[[ $tests != run ]] || tests/run.sh || fail "the tests failed; nothing was released"
mkdir -p "$out"
# A release that is not complete must not look like one.
trap '[[ $? -eq 0 ]] || rm -f "$out/SHA256SUMS"' EXIT
make_tarball
notes >"$out/NOTES.md"
write_apkbuild
[[ $packages == no ]] || make_packages
write_sums
create_tag
echo "$out contains the release. To publish it: git push origin $tag"
