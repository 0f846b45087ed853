#!/usr/bin/env bash
# Installs the packages of packages.txt that are missing: install-packages.sh build|try|test|bench|real-xen...
# Needs root or sudo, and only when something is missing. Works with Debian 12.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ $# -eq 0 ]]; then
  echo "usage: install-packages.sh build|try|test|bench|real-xen..." >&2
  exit 2
fi
if ! command -v dpkg-query >/dev/null; then
  echo "install-packages.sh: not a Debian system; install the equivalents of these yourself:" >&2
  grep -v '^#' "$here/packages.txt" >&2
  exit 77
fi

missing=()
while read -r package kind; do
  [[ -n $package && $package != \#* && " $* " == *" $kind "* ]] || continue
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* ]] || missing+=("$package")
done <"$here/packages.txt"
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages.sh: neither root nor sudo; as root, type: apt-get install ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}
# A fresh machine has no package lists, an old one stale ones: either shows as a failed install.
if ! apt_get install --no-install-recommends "${missing[@]}"; then
  apt_get update
  apt_get install --no-install-recommends "${missing[@]}"
fi
