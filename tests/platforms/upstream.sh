#!/usr/bin/env bash
# Runs libnbd's own tests with xenpv-disk as their server; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/platforms/upstream.sh [--root DIR] RELEASE XENPV_SIM XENPV_DISK [NAME...]

Creates a minimal chroot of the Debian release RELEASE (bookworm or trixie), downloads the source package of
libnbd and compiles its tests there. Runs them outside the chroot, with the chroot's libraries, and with
nbdkit_stand_in.py in place of the servers that they start: the server is the program XENPV_DISK, on the
simulator XENPV_SIM. upstream_tests.txt lists the tests, and the reason where a test cannot be run.

With NAME, runs only these tests. Must be run as root; also needs certtool, psktool and qemu-img.

  --root DIR   keep the chroot in DIR, or reuse the one that an earlier run left there

XENPV_DEBIAN_MIRROR: the mirror to use instead of the default of mmdebstrap.
The last line is "N passed, N failed, N not applicable". Logs are in build/logs/platforms.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid, 77 if the
chroot cannot be created on this machine.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$top/tests/platforms
stand_in=$here/nbdkit_stand_in.py

source "$here/chroot.sh"

parse_command_line 2 "$@"
XENPV_SIM=$(realpath "${arguments[0]}")
XENPV_DISK=$(realpath "${arguments[1]}")
selected=" ${arguments[*]:2} "

for program in certtool psktool qemu-img; do
  command -v "$program" >/dev/null || skip "$program is not installed"
done
make_chroot
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/xenpv-upstream-XXXXXX")
remove_at_exit+=("$TMPDIR")
export XENPV_SIM XENPV_DISK TMPDIR XENPV_STAND_IN_LOG=$TMPDIR/starts
install_inside gcc libc6-dev libgnutls28-dev libnbd-bin libnbd-dev xz-utils

# The source package, unpacked but not built: only the tests are compiled, against the packaged library.
source_dir=/usr/src/xenpv/libnbd
tree=$root$source_dir
if [[ ! -d $tree ]]; then
  inside "sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >/etc/apt/sources.list.d/xenpv-source.list
    apt-get -q update && rm -rf $source_dir.part && mkdir -p $source_dir.part && cd $source_dir.part && apt-get -q source --download-only libnbd &&
    tar -x --strip-components=1 -f libnbd_*.orig.tar.[gx]z && mv $source_dir.part $source_dir" \
    >"$logs/$release-libnbd-source.log" 2>&1 || fail "cannot get libnbd's source; see $logs/$release-libnbd-source.log"
fi
printf '#define %s\n' 'HAVE_GNUTLS 1' 'HAVE_GNUTLS_NO_SIGNAL 1' 'HAVE_BYTESWAP_H 1' 'HAVE_ENDIAN_H 1' \
  'HAVE_STDBOOL_H 1' 'PACKAGE_NAME "libnbd"' 'PACKAGE_VERSION "0"' >"$tree/config.h"
values=(abs_top_srcdir="$tree" NBDKIT="$stand_in" PYTHON=/usr/bin/python3 QEMU_NBD=qemu-nbd QEMU_STORAGE_DAEMON=qemu-storage-daemon
  CMP=cmp CUT=cut DD=dd REALPATH=realpath SED=sed STAT=stat TR=tr TRUNCATE=truncate)
cp "$tree/tests/functions.sh.in" "$tree/tests/functions.sh"
for value in "${values[@]}"; do
  sed -i "s#@${value%%=*}@#${value#*=}#" "$tree/tests/functions.sh"
done
if [[ ! -d $tree/tests/pki ]]; then
  (cd "$tree/tests" && SRCDIR=. CERTTOOL=certtool bash ./make-pki.sh pki-part && mv pki-part pki && touch pki/stamp-pki) >/dev/null 2>&1
fi
[[ -e $tree/tests/keys.psk ]] || psktool -u alice -p "$tree/tests/keys.psk" >/dev/null 2>&1

# wrap PATH PROGRAM: makes PATH a script that runs PROGRAM of the chroot with the chroot's libraries. Unlike chroot(8),
# the programs that it starts are those outside.
wrap() {
  local loader
  loader=$(find "$root/usr/lib64" "$root/lib64/" -name 'ld-linux-*.so.2' 2>/dev/null | head -n 1)
  rm -f "$1"
  printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$loader" "$(dirname "$(realpath "$(find "$root/usr/lib" -name libnbd.so.0)")")" \
    "$2" >"$1"
  chmod +x "$1"
}
mkdir -p "$tree/path" "$tree/programs"
for program in nbdcopy nbdinfo nbddump; do
  [[ ! -e $root/usr/bin/$program ]] || wrap "$tree/path/$program" "$root/usr/bin/$program"
done
ln -sf "$stand_in" "$tree/path/nbdkit"  # libnbd 1.14 starts nbdkit by its name
PATH=$tree/path:/usr/bin:$PATH

# compile NAME SOURCE DEFINITION...: "~" stands for a blank.
compile() {
  local name=$1 source=$2 definition command definitions
  shift 2
  definitions=("NBDKIT=\"$stand_in\"" "PIDFILE=\"$name.pid\"" NEEDS_TMPFILE=1 "$@")
  # Until libnbd 1.16, these were only switches, and the paths were in the source.
  if grep -q '^#if CERTS || PSK' "$tree/$source"; then
    definitions=("${definitions[@]/#CERTS=*/CERTS=1}")
    definitions=("${definitions[@]/#PSK=*/PSK=1}")
  fi
  command="gcc -w -O1 -I$source_dir -I$source_dir/common/include -I$source_dir/tests -o $source_dir/programs/$name"
  for definition in "${definitions[@]}"; do
    [[ $definition == program-only ]] || command+=" $(printf '%q' "-D$(sed "s#STAND_IN#$stand_in#; s#~# #g" <<<"$definition")")"
  done
  command+=" $source_dir/$source $source_dir/tests/requires.c $source_dir/tests/pick-a-port.c -lnbd -lgnutls -lpthread"
  chroot "$root" /bin/sh -c "$command"
  wrap "$tree/${source%/*}/$name" "$tree/programs/$name"
}

passed=0 failed=0 not_applicable=0
report() {
  local status=$1 name=$2 log reason
  log=$logs/$release-libnbd-${name//\//-}.log
  reason=$(sed -n 's/^xenpv-disk in place of nbdkit: not available: //p' "$log" 2>/dev/null | tail -n 1)
  if [[ $status == 0 && ! -s $XENPV_STAND_IN_LOG ]]; then
    status="0, but it did not start the server"
  fi
  if [[ $status == 77 ]]; then
    not_applicable=$((not_applicable + 1))
    echo "n/a     $name: skips itself: $(grep requires "$log" | tail -n 1)"
  elif [[ $status != 0 && -n $reason ]]; then
    not_applicable=$((not_applicable + 1))
    echo "n/a     $name: needs $reason"
  elif [[ $status == 0 ]]; then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "FAILED  $name: exit status $status; see $log"
  fi
}

# run_one NAME FOLDER COMMAND...
run_one() {
  local name=$1 folder=$2 status=0
  shift 2
  : >"$XENPV_STAND_IN_LOG"
  (cd "$tree/$folder" && LIBNBD_DEBUG=1 timeout 120 "$@" </dev/null) >"$logs/$release-libnbd-${name//\//-}.log" 2>&1 || status=$?
  report "$status" "$name"
}

echo "libnbd of $release: $(chroot "$root" dpkg-query -W -f '${Version}' libnbd-dev)"
while read -r -u 3 kind name source rest; do
  [[ -n $kind && $kind != \#* ]] || continue
  [[ $selected == "  " || $selected == *" $name "* ]] || continue
  case $kind in
    run)
      # In older versions, the Makefile passed other definitions for these variants.
      if [[ ! -e $tree/$source ]] || { [[ $rest =~ EXPECT_FAIL|DEFINE_STR ]] && ! grep -q "$BASH_REMATCH" "$tree/$source"; }; then
        echo "n/a     $name: not in this version"
        not_applicable=$((not_applicable + 1))
        continue
      fi
      # shellcheck disable=SC2086  # a list of definitions
      compile "$name" "$source" $rest || { report "of the compiler" "$name" && continue; }
      [[ " $rest" == *" program-only"* ]] || run_one "$name" "${source%/*}" "./$name"
      ;;
    script)
      if [[ -e $tree/$name ]]; then
        run_one "$name" "${name%/*}" bash "./${name##*/}"
      else
        echo "n/a     $name: not in this version"
        not_applicable=$((not_applicable + 1))
      fi
      ;;
    not)
      echo "n/a     $name: $source $rest"
      not_applicable=$((not_applicable + 1))
      ;;
  esac
done 3<"$here/upstream_tests.txt"
echo "$passed passed, $failed failed, $not_applicable not applicable"
[[ $((passed + failed + not_applicable)) -gt 0 ]] || fail "upstream_tests.txt has no test$selected"
[[ $failed -eq 0 ]]
