#!/usr/bin/env bash
# install-packages.sh [--list [--release RELEASE]] PURPOSE...: installs the packages in packages.txt for
# the given purposes. --list only prints them, for this release or for RELEASE. Needs root or sudo only
# if a package is missing. For Debian 12 and 13.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
  echo "usage: install-packages.sh [--list [--release bookworm|trixie]] build|try|test|bench|real-xen|real-xen-arm64|cross|static|deb|rpm|image..."
}

list=no
release=
case ${1:-} in
  '') usage >&2 && exit 2 ;;
  -h | --help) usage && exit 0 ;;
  --list) list=yes && shift ;;
esac
if [[ $list == yes && ${1:-} == --release ]]; then
  [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
  release=$2
  shift 2
fi

codename() {
  local VERSION_CODENAME=
  [[ ! -r /etc/os-release ]] || source /etc/os-release
  echo "$VERSION_CODENAME"
}

# select_packages PURPOSE...: prints the packages for these purposes on this release and architecture.
select_packages() {
  local architecture package kind only
  release=${release:-$(codename)}
  architecture=$(dpkg --print-architecture 2>/dev/null || echo unknown)
  while read -r package kind only; do
    [[ -n $package && $package != \#* && " $* " == *" $kind "* ]] || continue
    case $only in
      '' | "$release" | "$architecture") ;;
      !*) [[ ${only#!} != "$release" ]] || continue ;;
      *) continue ;;
    esac
    echo "$package"
  done <"$here/packages.txt"
}

for purpose in "$@"; do
  awk -v purpose="$purpose" '!/^#/ && $2 == purpose { found = 1 } END { exit !found }' "$here/packages.txt" ||
    { echo "install-packages.sh: unknown purpose '$purpose'" >&2 && usage >&2 && exit 2; }
done
mapfile -t packages < <(select_packages "$@")
if [[ $list == yes ]]; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi
if ! command -v dpkg-query >/dev/null; then
  {
    echo "install-packages.sh: cannot install packages: this is not a Debian system."
    echo "Install your distribution's equivalents of these Debian packages:"
    printf '  %s\n' "${packages[@]}"
    echo "and then run: cmake -S . -B build -G Ninja && cmake --build build"
  } >&2
  exit 77
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages.sh: neither root nor sudo is available; run as root: apt-get install ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}
# The tests only use promtool: keep the package from starting a server, which would listen on all
# addresses. `systemctl unmask prometheus` undoes this.
unit=/etc/systemd/system/prometheus.service
if [[ " ${missing[*]} " == *" prometheus "* && ! -e $unit ]]; then
  "${as_root[@]}" mkdir -p "${unit%/*}"
  "${as_root[@]}" ln -s /dev/null "$unit"
fi
# Missing or outdated package lists make the installation fail: update them and try again.
if ! apt_get install --no-install-recommends "${missing[@]}"; then
  apt_get update
  apt_get install --no-install-recommends "${missing[@]}"
fi
