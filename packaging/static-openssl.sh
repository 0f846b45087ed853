#!/usr/bin/env bash
# Builds a small static OpenSSL from Debian's source package; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/static-openssl.sh DIR

Builds libcrypto.a and libssl.a for packaging/static.sh, installs them with their headers below DIR/prefix,
and prints that directory. The libraries of Debian's libssl-dev add 3.9 MB to a program, because they
contain all algorithms, and load modules at run time, which a static program must not do. This build
contains what TLS 1.2 and 1.3 need.

Fetches the source package of this Debian release, with apt, which verifies its signature, into DIR.
If the newest version cannot be downloaded, takes the next one and prints a warning. Does nothing if
DIR contains a build with the same options. To take a newer version, remove DIR.
TEXT
}

# Features that xenpv does not use: obsolete or national algorithms, formats other than PEM, loadable code.
without=(shared module dso engine legacy tests comp dtls srp srtp ct cms ts ocsp cmp gost rfc3779 aria bf blake2
  camellia cast des dsa ec2m idea md4 mdc2 multiblock nextprotoneg ocb rc2 rc4 rmd160 scrypt seed siphash siv
  sm2 sm3 sm4 ui-console uplink whirlpool)
# Nothing unwinds the stack through OpenSSL.
flags='-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables'

fail() {
  echo "static-openssl.sh: $*" >&2
  exit 1
}

# Runs an apt program with separate package lists, because systems usually lack deb-src lists.
apt_sources() {
  local program=$1
  shift
  "$program" -q -o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$dir/apt/lists" -o Dir::Cache="$dir/apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

list_sources() {
  local VERSION_CODENAME="" mirror=${XENPV_DEBIAN_MIRROR:-http://deb.debian.org/debian} suite signed
  # shellcheck source=/dev/null
  source /etc/os-release
  [[ -n $VERSION_CODENAME ]] || fail "this is not a Debian release"
  signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
  mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
  {
    for suite in "$VERSION_CODENAME" "$VERSION_CODENAME-updates"; do
      echo "deb-src $signed $mirror $suite main"
    done
    echo "deb-src $signed ${mirror%/debian}/debian-security $VERSION_CODENAME-security main"
  } >"$dir/apt/sources.list"
  apt_sources apt-get update
}

# fetch: downloads and unpacks the newest version; sets `version`.
fetch() {
  local versions newest=
  list_sources
  mapfile -t versions < <(apt_sources apt-cache showsrc openssl | sed -n 's/^Version: //p' | sort -u | sort -rV)
  [[ ${#versions[@]} -gt 0 ]] || fail "no source package of OpenSSL"
  for version in "${versions[@]}"; do
    newest=${newest:-$version}
    if (cd "$dir" && apt_sources apt-get source --download-only "openssl=$version"); then
      [[ $version == "$newest" ]] || echo "static-openssl.sh: OpenSSL $newest cannot be downloaded; taking $version" >&3
      rm -rf "$dir/source"
      # apt has verified the checksums, and the signature of the list with the checksums.
      dpkg-source --no-check -x "$dir/openssl_${version#*:}.dsc" "$dir/source"
      return
    fi
  done
  fail "cannot download the source package of OpenSSL"
}

compile() {
  local options=("${without[@]/#/no-}")
  cd "$dir/source"
  ./Configure --prefix="$dir/prefix" --libdir=lib --openssldir=/etc/ssl "${options[@]}" CFLAGS="$flags"
  make -j "$(nproc)" build_libs
  rm -rf "$dir/prefix"
  make install_dev
  echo "$version" >"$dir/prefix/version"
}

case ${1:-} in
  -h | --help) usage && exit 0 ;;
  '' | -*) usage >&2 && exit 2 ;;
esac
dir=$(realpath -m "$1")
settings="${without[*]} $flags"
if [[ $(cat "$dir/prefix/options" 2>/dev/null) != "$settings" ]]; then
  mkdir -p "$dir"
  exec 3>&2
  (set -e; fetch; compile) >"$dir/build.log" 2>&1 &
  # Not `if (...)`, in which bash ignores set -e.
  wait "$!" || {
    tail -n 20 "$dir/build.log" >&2
    fail "cannot build OpenSSL; see $dir/build.log"
  }
  echo "$settings" >"$dir/prefix/options"
fi
echo "$dir/prefix"
