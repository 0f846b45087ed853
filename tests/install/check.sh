#!/usr/bin/env bash
# check.sh cmake|pkg-config|files|examples WORK LIBDIR PREFIX: tests the package installed in
# WORK/stage. LIBDIR is relative to the prefix; PREFIX is the build's configured install prefix.
set -euo pipefail

way=$1 work=$2 libdir=$3 prefix=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=$work/stage

fail() {
  echo "check.sh: $*" >&2
  exit 1
}

# Runs the consumer, whose output is the same on every machine.
run_consumer() {
  local output
  output=$("$1") || fail "the consumer failed: $output"
  [[ $output == "port 7 of domain 5: Connected, ran dry" ]] || fail "the consumer printed: $output"
}

# expect TEXT COMMAND...: fails unless the output of COMMAND contains TEXT.
expect() {
  local text=$1 output
  shift
  output=$("$@") || fail "$*: exit status $?: $output"
  [[ $output == *"$text"* ]] || fail "$*: the output does not contain '$text': $output"
}

# Tests the only example that does not need Xen, an NBD server, with nbdinfo.
serve_memory() {
  ./serve_memory memory.sock >memory.out &
  local server=$!
  until grep -q ready memory.out; do
    kill -0 "$server" 2>/dev/null || fail "serve_memory did not start"
    sleep 0.1
  done
  if command -v nbdinfo >/dev/null; then
    expect 16777216 nbdinfo --size "nbd+unix:///memory?socket=memory.sock"
  fi
  kill "$server"
  wait "$server" || fail "serve_memory: exit status $? after SIGTERM"
}

case $way in
  cmake)
    rm -rf "$work/consumer"
    cmake -S "$here/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$stage"
    cmake --build "$work/consumer"
    run_consumer "$work/consumer/consumer"
    ;;
  pkg-config)
    # The .pc file contains the configured prefix, but the package is installed in $stage.
    export PKG_CONFIG_PATH=$stage/$libdir/pkgconfig
    flags=$(pkg-config --define-variable=prefix="$stage" --cflags --libs xenpv)
    # shellcheck disable=SC2086  # split into flags
    "$CXX" -std=c++20 "$here/consumer/main.cpp" $flags -o "$work/consumer-pkg-config"
    run_consumer "$work/consumer-pkg-config"
    # The program in the README.
    awk '/^```cpp/ { inside = 1; next } /^```/ { inside = 0 } inside' "$here/../../README.md" >"$work/readme.cpp"
    # shellcheck disable=SC2086
    "$CXX" -std=c++20 "$work/readme.cpp" $flags -o "$work/readme"
    "$stage/bin/xenpv-sim" run --disk xvdb,memory=16M -- "$work/readme" || fail "the program in the README failed"
    ;;
  files)
    # Outside the configured prefix, the program must find the library relative to its own path.
    [[ $("$stage/bin/xenpv-sim" run -- echo moved) == moved ]] || fail "a moved xenpv-sim does not run"
    for app in "$stage"/bin/*; do
      name=$(basename "$app")
      [[ $("$app" --version) == "$name "* ]] || fail "$name --version does not print the name"
      [[ -s $stage/share/man/man1/$name.1 ]] || fail "$name has no man page"
      [[ -s $stage/share/bash-completion/completions/$name ]] || fail "$name has no completion"
      grep -q "complete .* $name\( \|$\)" "$stage/share/bash-completion/completions/$name" ||
        fail "the completion lacks $name"
    done
    for schema in "$stage"/share/xenpv/schema/*.schema.json; do
      python3 -m json.tool "$schema" >/dev/null || fail "$schema is not valid JSON"
    done
    if [[ -e $stage/bin/xenpv-sim ]]; then
      [[ -s $stage/$libdir/xenpv/libxensim.so ]] || fail "libxensim.so is not in $libdir/xenpv"
    fi
    ! grep -rl "$prefix/include\|$work/\.\." "$stage/$libdir/cmake" ||
      fail "the CMake files contain a path of the build machine"
    # Private libraries must not be installed.
    [[ ! -e $stage/$libdir/libxenpv_sim.a ]] || fail "the private library of the simulator is installed"
    ;;
  examples)
    rm -rf "$work/examples"
    cmake -S "$here/../../apps/examples" -B "$work/examples" -G Ninja -DCMAKE_PREFIX_PATH="$stage"
    cmake --build "$work/examples"
    PATH=$stage/bin:$PATH
    cd "$work/examples"
    expect "thread 0: an event on port" xenpv-sim run -- ./wait_on_each_cpu
    expect "copied 4096 bytes of device/vbd/51728" xenpv-sim run --disk xvdb,memory=16M -- ./copy_first_block
    expect "sum of the first MiB: 0" xenpv-sim run --disk xvdb,memory=16M -- ./checksum_without_copy
    # shellcheck disable=SC2016  # expanded by the inner shell
    expect "/local/domain/1/data/x = 1" xenpv-sim run -- sh -c '
      ./watch_store /local/domain/1/data 2 & until [ -s started ]; do xenstore-read domid >started; done
      for i in 1 2 3 4 5 6 7 8 9; do xenstore-write data/x 1; sleep 0.1; done & wait %1'
    xenpv-sim start --dir host --domains 2
    trap 'xenpv-sim stop --dir host' EXIT
    xenpv-sim exec --dir host --domain 1 -- ./ping_domain serve 2 >serve.out &
    peer=$!
    until grep -q port serve.out; do
      kill -0 "$peer" 2>/dev/null || fail "ping_domain serve did not start"
      sleep 0.1
    done
    expect "domain 1 answered in" xenpv-sim exec --dir host --domain 2 -- ./ping_domain ping 1
    wait "$peer" || fail "ping_domain serve failed"
    expect ok "$here/../../apps/examples/test_foreign_driver.sh" ./foreign_driver
    serve_memory
    ;;
  *) fail "unknown test: $way" ;;
esac
