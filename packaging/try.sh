#!/usr/bin/env bash
# Runs a demonstration on Debian 12 or 13: installs the build dependencies, builds the required
# programs in build/try, serves the PV disk of a simulated guest, and then builds the other
# programs. Apart from installing packages, it changes nothing outside build/.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build/try

"$top/packaging/debian/install-packages.sh" build try

options=(-DCMAKE_BUILD_TYPE=Release -DXENPV_BUILD_TESTS=OFF -DXENPV_BUILD_BENCH=OFF -DXENPV_UNITY=ON)
if command -v ccache >/dev/null; then
  options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
fi
cmake -S "$top" -B "$build" -G Ninja "${options[@]}"
echo
echo "== building the programs for the demonstration: about two minutes on two cores =="
cmake --build "$build" --target xenpv-disk xenpv-sim xenpv-custodian

echo
echo "== xenpv-sim demo: ping between two domains over an event channel and a shared page =="
"$build/bin/xenpv-sim" demo

echo
echo "== xenpv-disk: serve a simulated guest's PV disk over NBD, write it and read it back =="
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
head -c 64M /dev/urandom >"$files/image"
# The command runs in the guest; $uri is the disk's NBD URI.
# shellcheck disable=SC2016
"$build/bin/xenpv-sim" run --disk xvdb,memory=64M -- "$build/bin/xenpv-disk" run xvdb -- sh -eu -c '
  nbdinfo "$uri"
  nbdcopy "$1/image" "$uri"
  nbdcopy "$uri" "$1/back"
  cmp "$1/image" "$1/back"
  echo "wrote 64 MiB to the PV disk and read it back: identical"' sh "$files"

echo
echo "== building the other programs: about a minute =="
cmake --build "$build"

cat <<END

Next steps, for example:
  $build/bin/xenpv-sim run --disk xvdb,memory=1G -- sh    start a shell in a guest with a disk; inside it:
      $build/bin/xenpv-disk list
      $build/bin/xenpv-disk serve xvdb --unix /tmp/xvdb.sock &
      nbdinfo 'nbd+unix:///xvdb?socket=/tmp/xvdb.sock'; $build/bin/xenpv-disk status
  $build/bin/xenpv-sim run -- xenstore-ls -f /local/domain/1    list a guest's xenstore nodes (needs xenstore-utils)
  $build/bin/xenpv-sim start --disk xvdb,memory=1G    start a host that stays, for use from several terminals;
      $build/bin/xenpv-sim exec -- sh           then start a shell in its guest; "xenpv-sim stop" stops the host
  $build/bin/xenpv-sim --help                   list all commands
  man $build/packaging/xenpv-sim.1              read the man page
  $top/tests/run.sh --quick                     build everything and run the tests
  xenpv-disk serve xvdb --take                  in a Xen guest, as root: serve a disk and print the nbd-client command
END
