#!/usr/bin/env bash
# Builds the Debian packages for a release and tests them in minimal chroots; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/platforms/packages.sh [--root DIR] RELEASE [STEP...]

Tests the Debian packages of the last commit on the Debian release RELEASE (bookworm or trixie), in
minimal chroots that contain nothing else:

  build         packaging/deb.sh --release RELEASE, into build/deb/RELEASE; the other steps need its result
  lintian       no errors, no warnings
  autopkgtest   the packages' own tests (packaging/debian/tests) with the installed packages
  lifecycle     install, upgrade and purge the packages while a server runs
  readme        the README's commands for a system that has only the packages
  reproducible  a second build, in another environment, yields identical packages

All steps by default. Must be run as root; needs mount and PID namespaces.

  --root DIR   keep the chroots in DIR, or reuse those that an earlier run left there

XENPV_DEBIAN_MIRROR: the mirror to use instead of the default of mmdebstrap.
The last line is "N passed, N failed" and counts steps. Logs are in build/logs/platforms.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid, 77 if the
chroots cannot be created on this machine.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
passed=0 failed=0
all_steps=(build lintian autopkgtest lifecycle readme reproducible)

source "$top/tests/platforms/chroot.sh"

# fresh_root NAME: makes a new copy of the minimal chroot the root of inside().
fresh_root() {
  root=$roots/$1
  rm -rf --one-file-system "$root"
  cp -a --reflink=auto "$roots/base" "$root"
  rm -rf "$root/packages"
  mkdir "$root/packages"
  cp "$packages"/* "$root/packages/"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  mkdir -p "$roots/archives"
  shared_directories=("$roots/archives:/var/cache/apt/archives")  # each file is downloaded once
}

build_root() {
  [[ -e $roots/build/etc/debian_version ]] || cp -a --reflink=auto "$roots/base" "$roots/build"
}

run_build() {
  build_root
  "$top/packaging/deb.sh" --release "$release" --root "$roots/build" --out "$packages"
}

run_reproducible() {
  local second=$roots/second-packages file
  build_root
  rm -rf "$second"
  "$top/packaging/deb.sh" --release "$release" --root "$roots/build" --out "$second" --vary
  for file in "$packages"/*.deb "$packages"/*.dsc; do
    cmp "$file" "$second/${file##*/}" || return 1
  done
  [[ $(cd "$packages" && ls -- *.deb) == "$(cd "$second" && ls -- *.deb)" ]]
}

run_lintian() {
  fresh_root lintian
  install_inside lintian passwd
  inside 'useradd --create-home builder && su builder -c "cd /packages && lintian --version &&
    lintian --show-overrides --fail-on error,warning *.changes"'
}

run_autopkgtest() {
  fresh_root autopkgtest
  install_inside autopkgtest
  inside 'cd /packages && autopkgtest --no-built-binaries ./*.deb ./*.dsc -- null'
}

run_lifecycle() {
  fresh_root lifecycle
  cp "$top/tests/platforms/packages_lifecycle.sh" "$root/root/"
  inside 'apt-get -q update && bash /root/packages_lifecycle.sh /packages'
}

# The three commands in the section "Debian packages" of the README, as a user with sudo.
run_readme() {
  local commands
  mapfile -t commands < <(awk '
    /^## / { section = $0 }
    /^```/ { inside = !inside; next }
    inside && section == "## Debian packages"' "$top/README.md")
  [[ ${#commands[@]} -eq 3 ]] || fail "the section in the README has ${#commands[@]} lines of commands"
  fresh_root readme
  install_inside passwd sudo
  echo 'ALL ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/everyone"
  echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/assume-yes"
  # A person is slower than the server is.
  cat >"$root/packages/commands" <<SCRIPT
set -ex
${commands[0]}
${commands[1]}
until [ -S /tmp/xvdb.sock ]; do kill -0 \$!; sleep 0.1; done
${commands[2]}
kill \$! && wait \$!
SCRIPT
  inside 'apt-get -q update && useradd --create-home user && cd /packages && su user -c "bash commands"' |
    tee "$roots/readme.out"
  grep 'export-size: 268435456' "$roots/readme.out"
}

run_step() {
  local step=$1 start=$SECONDS log=$logs/$release-packages-$1.log
  echo "== $release $step"
  # Run the step in the background, not in a condition: there, `set -e` would have no effect.
  (
    set -e
    "run_$step"
  ) >"$log" 2>&1 &
  if wait $!; then
    passed=$((passed + 1))
    echo "ok      $release $step  $((SECONDS - start)) s: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1))
    echo "FAILED  $release $step  $((SECONDS - start)) s: see $log"
    tail -n 30 "$log" >&2
  fi
}

parse_command_line 0 "$@"
steps=("${arguments[@]}")
[[ ${#steps[@]} -gt 0 ]] || steps=("${all_steps[@]}")
for step in "${steps[@]}"; do
  [[ " ${all_steps[*]} " == *" $step "* ]] || misused
done
packages=$top/build/deb/$release

roots=$root
if [[ $keep == no ]]; then
  roots=$(mktemp -d "${TMPDIR:-/var/tmp}/xenpv-packages-$release-XXXXXX")
  remove_at_exit+=("$roots")
fi
root=$roots/base
keep=yes
make_chroot
for step in "${steps[@]}"; do run_step "$step"; done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
