#!/usr/bin/env bash
# From a fresh clone to a running demo on Debian 12: installs what building needs, builds without the
# tests into build/try, and lets two simulated Xen domains talk. Changes nothing outside build/ but packages.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build/try

"$top/packaging/debian/install-packages.sh" build

options=(-DCMAKE_BUILD_TYPE=Release -DXENPV_BUILD_TESTS=OFF -DXENPV_BUILD_BENCH=OFF)
if command -v ccache >/dev/null; then
  options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
fi
cmake -S "$top" -B "$build" -G Ninja "${options[@]}"
cmake --build "$build"

echo
echo "== xenpv-sim demo: two domains, an event channel and a shared page =="
"$build/bin/xenpv-sim" demo

cat <<END

Next, for example:
  $build/bin/xenpv-sim run -- xenstore-ls -f    what a guest sees of xenstore (package xenstore-utils)
  $build/bin/xenpv-sim --help                   all commands; man $build/packaging/xenpv-sim.1 tells more
  $top/tests/run.sh --quick                     build everything and run the tests
END
