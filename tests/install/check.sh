#!/usr/bin/env bash
# check.sh cmake|pkg-config|files WORK LIBDIR PREFIX: tries the package that was installed into WORK/stage.
# LIBDIR is relative to the prefix; PREFIX is the one the build was configured for.
set -euo pipefail

way=$1 work=$2 libdir=$3 prefix=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=$work/stage

fail() {
  echo "check.sh: $*" >&2
  exit 1
}

# What the consumer prints does not depend on the machine it runs on.
run_consumer() {
  local said
  said=$("$1") || fail "the consumer failed: $said"
  [[ $said == "port 7 of domain 5: Connected, 256 MiB, ran dry" ]] || fail "the consumer said: $said"
}

case $way in
  cmake)
    rm -rf "$work/consumer"
    cmake -S "$here/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$stage"
    cmake --build "$work/consumer"
    run_consumer "$work/consumer/consumer"
    ;;
  pkg-config)
    # The file carries the configured prefix; the stage is elsewhere.
    export PKG_CONFIG_PATH=$stage/$libdir/pkgconfig
    flags=$(pkg-config --define-variable=prefix="$stage" --cflags --libs xenpv)
    # shellcheck disable=SC2086  # flags are words
    "$CXX" -std=c++20 "$here/consumer/main.cpp" $flags -o "$work/consumer-pkg-config"
    run_consumer "$work/consumer-pkg-config"
    ;;
  files)
    # The stage is not where the build was configured for: the library has to be found beside the program.
    [[ $("$stage/bin/xenpv-sim" run -- echo moved) == moved ]] || fail "a moved xenpv-sim does not run"
    for app in "$stage"/bin/*; do
      name=$(basename "$app")
      [[ $("$app" --version) == "$name "* ]] || fail "$name --version does not name it"
      [[ -s $stage/share/man/man1/$name.1 ]] || fail "$name has no manual page"
      [[ -s $stage/share/bash-completion/completions/$name ]] || fail "$name has no completion"
      grep -q "complete .* $name\( \|$\)" "$stage/share/bash-completion/completions/$name" ||
        fail "the completion does not know $name"
    done
    for schema in "$stage"/share/xenpv/schema/*.schema.json; do
      python3 -m json.tool "$schema" >/dev/null || fail "$schema is no JSON"
    done
    if [[ -e $stage/bin/xenpv-sim ]]; then
      [[ -s $stage/$libdir/xenpv/libxensim.so ]] || fail "libxensim.so is not in $libdir/xenpv"
    fi
    ! grep -rl "$prefix/include\|$work/\.\." "$stage/$libdir/cmake" || fail "a path of this machine leaked"
    # Only rooms with public headers are for others.
    [[ ! -e $stage/$libdir/libxenpv_sim.a ]] || fail "the simulator's room is private"
    ;;
  *) fail "no such way: $way" ;;
esac
