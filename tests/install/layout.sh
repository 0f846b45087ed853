#!/usr/bin/env bash
# layout.sh WORK: creates an OCI image layout from a few files and checks it, if possible also with skopeo.
# image.sh tests the complete container image.
set -euo pipefail

work=$1/layout
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  echo "layout.sh: $*" >&2
  exit 1
}

# make NAME: creates a layout from the same files.
make() {
  python3 "$here/../../packaging/image/oci_layout.py" "$work/root.tar" "$work/$1" --architecture amd64 --version 1.2.3 \
    --revision 0123456789abcdef --created 1767323045
}

# expect_invalid WHAT COMMAND...: fails unless a copy of the layout is invalid after COMMAND has damaged it.
expect_invalid() {
  local what=$1
  shift
  rm -rf "$work/damaged"
  cp -r "$work/oci" "$work/damaged"
  "$@"
  ! python3 "$here/check_layout.py" "$work/damaged" 2>/dev/null || fail "$what is not noticed"
}

rm -rf "$work"
mkdir -p "$work/root/usr/bin"
head -c 100000 /dev/urandom >"$work/root/usr/bin/xenpv-sim"
tar -C "$work/root" -cf "$work/root.tar" .
make oci
[[ $(python3 "$here/check_layout.py" "$work/oci" "$work/unpacked") == /usr/bin/xenpv-sim ]] || fail "wrong entry point"
diff -r "$work/root" "$work/unpacked" || fail "the layer has other files"
if command -v skopeo >/dev/null; then
  skopeo inspect "oci:$work/oci:1.2.3" | grep -q '"Created": "2026-01-02T03:04:05Z"' || fail "skopeo does not accept the layout"
fi

make again
diff -r "$work/oci" "$work/again" || fail "the layout differs when it is made again"
! make again 2>/dev/null || fail "an existing directory was overwritten"

layer=$(find "$work/oci/blobs" -type f -size +50k -printf '%P\n')
manifest=$(grep -l '"layers":' -r "$work/oci/blobs")
manifest=${manifest#"$work/oci/"}
expect_invalid "a truncated layer" truncate --size=-1 "$work/damaged/blobs/$layer"
expect_invalid "a damaged manifest" sed -i 's/tar+gzip/tar+xz/' "$work/damaged/$manifest"
expect_invalid "another version" sed -i 's/1.0.0/2.0.0/' "$work/damaged/oci-layout"
expect_invalid "a missing layer" rm "$work/damaged/blobs/$layer"
expect_invalid "an unused blob" touch "$work/damaged/blobs/sha256/unused"
expect_invalid "a wrong platform" sed -i 's/amd64/arm64/' "$work/damaged/index.json"
rm -rf "$work"
