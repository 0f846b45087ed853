#!/usr/bin/env bash
# release.sh WORK: tests packaging/release.sh in a temporary repository with the files that it reads, and package
# scripts that only write a file.
set -euo pipefail

work=$1/release
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
tree=$work/tree
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=tester GIT_AUTHOR_EMAIL=tester@example.org
export GIT_COMMITTER_NAME=tester GIT_COMMITTER_EMAIL=tester@example.org
export GIT_AUTHOR_DATE='2026-01-02 03:04:05 +0000' GIT_COMMITTER_DATE='2026-01-02 03:04:05 +0000'
unset GIT_DIR GIT_WORK_TREE

fail() {
  echo "release.sh: $*" >&2
  exit 1
}

commit() {
  git -C "$tree" add -A
  git -C "$tree" commit -q --allow-empty -m "$1"
}

# package_script NAME COMMAND...: makes a package script that runs COMMAND with its --out directory in $2.
package_script() {
  # shellcheck disable=SC2016  # expanded by the script
  printf '#!/bin/sh -eu\nmkdir -p "$2"\n%s\n' "${*:2}" >"$tree/packaging/$1"
  chmod +x "$tree/packaging/$1"
}

make_tree() {
  rm -rf "$work"
  mkdir -p "$tree"/packaging/{rpm,alpine} "$tree/tests"
  cp "$top/packaging/release.sh" "$tree/packaging/"
  cp "$top/packaging/rpm/xenpv.spec" "$tree/packaging/rpm/"
  cp "$top/packaging/alpine/APKBUILD" "$top/packaging/alpine/xenpv.pre-install" "$tree/packaging/alpine/"
  cp "$top/CMakeLists.txt" "$top/.gitignore" "$tree/"
  set_version 1.2.3
  printf '# Changelog\n\n## 1.2.3 (2026-01-02)\n\n- First change\n  of two lines.\n- Second change.\n\n## 1.2.2 (2025-01-02)\n\n- Old.\n' \
    >"$tree/packaging/CHANGELOG.md"
  # shellcheck disable=SC2016  # expanded by the script
  package_script deb.sh 'echo deb >"$2/xenpv.deb"'
  # shellcheck disable=SC2016
  package_script image.sh 'echo "{}" >"$2/index.json"'
  printf '#!/bin/sh\nexit 1\n' >"$tree/tests/run.sh"
  chmod +x "$tree/tests/run.sh"
  git -C "$tree" init -q
  commit start
}

# set_version VERSION: sets the version in all files that contain it.
set_version() {
  sed -i "s/^project(xenpv VERSION [^ ]*/project(xenpv VERSION $1/" "$tree/CMakeLists.txt"
  sed -i "s/^Version:\( *\).*/Version:\1$1/" "$tree/packaging/rpm/xenpv.spec"
  sed -i "s/^pkgver=.*/pkgver=$1/" "$tree/packaging/alpine/APKBUILD"
}

release() {
  "$tree/packaging/release.sh" "$@"
}

# expect_refusal STATUS TEXT ARGUMENT...: the release must fail with this exit status and message, and leave no tag.
expect_refusal() {
  local expected=$1 text=$2 output status=0
  shift 2
  output=$(release "$@" 2>&1) || status=$?
  [[ $status -eq $expected ]] || fail "$*: exit status $status instead of $expected: $output"
  [[ $output == *"$text"* ]] || fail "$*: the output does not contain '$text': $output"
  [[ -z $(git -C "$tree" tag) ]] || fail "$*: created a tag"
  [[ ! -e $tree/build/release/1.2.3/SHA256SUMS ]] || fail "$*: left a complete release"
}

# refused_after COMMAND TEXT: a release from the tree that COMMAND has changed must be refused with TEXT.
refused_after() {
  make_tree
  (cd "$tree" && bash -c "$1")
  commit change
  expect_refusal 1 "$2" 1.2.3 --dry-run
  expect_refusal 1 "$2" 1.2.3 --tests-passed
}

test_refusals() {
  make_tree
  expect_refusal 2 usage:
  expect_refusal 2 usage: 1.2 --tests-passed
  expect_refusal 2 usage: v1.2.3 --tests-passed
  expect_refusal 2 usage: 1.2.3
  expect_refusal 1 "CMakeLists.txt has version 1.2.3; set it to 1.2.4" 1.2.4 --tests-passed
  expect_refusal 1 "the tests failed" 1.2.3 --run-tests
  touch "$tree/new"
  expect_refusal 1 "there are uncommitted changes" 1.2.3 --tests-passed
  refused_after "sed -i 's/^Version:.*/Version: 1.2.2/' packaging/rpm/xenpv.spec" "xenpv.spec has version 1.2.2"
  refused_after "sed -i 's/^pkgver=.*/pkgver=1.2.2/' packaging/alpine/APKBUILD" "APKBUILD has version 1.2.2"
  refused_after "sed -i 's/(2026-01-02)/(unreleased)/' packaging/CHANGELOG.md" "it has '## 1.2.3 (unreleased)'"
  refused_after "sed -i '/^## 1.2.3/d' packaging/CHANGELOG.md" "it has ''"
  refused_after "sed -i '/change/d; /two lines/d' packaging/CHANGELOG.md" "says nothing about 1.2.3"
  refused_after "mkdir -p build/release/1.2.3" "build/release/1.2.3 exists already"
  make_tree
  package_script rpm.sh 'exit 1'
  commit "broken package"
  expect_refusal 1 "" 1.2.3 --tests-passed
}

test_dry_run() {
  local output
  make_tree
  output=$(release 1.2.3 --dry-run)
  [[ $output == *"as v1.2.3, in $tree/build/release/1.2.3, with these notes:"*"- First change"* ]] || fail "--dry-run: $output"
  [[ ! -e $tree/build && -z $(git -C "$tree" tag) ]] || fail "--dry-run changed something"
}

# Compares the files of a release, and the tag.
test_release() {
  local out=$tree/build/release/1.2.3 message
  make_tree
  release 1.2.3 --tests-passed >"$work/output"
  grep -q "git push origin v1.2.3" "$work/output" || fail "the release does not say how to publish it"
  (cd "$out" && sha256sum --quiet -c SHA256SUMS) || fail "a checksum is wrong"
  [[ $(cut -c 67- "$out/SHA256SUMS") == "$(printf '%s\n' APKBUILD NOTES.md debian/xenpv.deb xenpv-1.2.3.tar.gz \
    xenpv-sim-1.2.3-oci.tar xenpv.pre-install)" ]] || fail "SHA256SUMS lists: $(cat "$out/SHA256SUMS")"
  [[ $(cat "$out/NOTES.md") == "$(printf -- '- First change\n  of two lines.\n- Second change.')" ]] ||
    fail "the notes are: $(cat "$out/NOTES.md")"
  tar -xzf "$out/xenpv-1.2.3.tar.gz" -C "$work"
  diff -r --exclude=.git --exclude=build "$tree" "$work/xenpv-1.2.3" || fail "the tarball differs from the tree"
  # shellcheck disable=SC1091,SC2154  # made by the release
  [[ $(source "$out/APKBUILD" && echo "${sha512sums//$'\n'/}") == "$(cd "$out" && sha512sum xenpv-1.2.3.tar.gz)" ]] ||
    fail "APKBUILD has another checksum than the tarball"

  [[ $(git -C "$tree" cat-file -t v1.2.3) == tag ]] || fail "the tag is not annotated"
  [[ $(git -C "$tree" rev-parse 'v1.2.3^{commit}') == $(git -C "$tree" rev-parse HEAD) ]] || fail "the tag is at another commit"
  message=$(git -C "$tree" tag -l --format='%(contents)' v1.2.3)
  [[ $message == "xenpv 1.2.3"*"- Second change."* ]] || fail "the message of the tag is: $message"
  release 1.2.3 --tests-passed --out "$work/again" 2>"$work/output" && fail "the tag was replaced"
  grep -q "the tag v1.2.3 exists already" "$work/output" || fail "an existing tag: $(cat "$work/output")"
}

test_options() {
  make_tree
  printf '#!/bin/sh\ntouch ../tests-ran\n' >"$tree/tests/run.sh"
  commit "tests pass"
  release 1.2.3 --run-tests --no-packages --out "$work/first" >"$work/output"
  [[ -e $work/tests-ran ]] || fail "--run-tests did not run tests/run.sh"
  [[ ! -e $work/first/debian ]] || fail "--no-packages made packages"
  git -C "$tree" tag -d v1.2.3 >"$work/output"
  release 1.2.3 --tests-passed --no-packages --out "$work/second" >"$work/output"
  diff -r "$work/first" "$work/second" || fail "the release differs when it is made again"
}

test_refusals
test_dry_run
test_release
test_options
rm -rf "$work"
