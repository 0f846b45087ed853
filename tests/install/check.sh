#!/usr/bin/env bash
# check.sh cmake|pkg-config|files|units|examples WORK LIBDIR PREFIX: tests the package installed in
# WORK/stage. LIBDIR is relative to the prefix; PREFIX is the build's configured install prefix.
set -euo pipefail

way=$1 work=$2 libdir=$3 prefix=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=$work/stage
# Programs search for it below the configured prefix.
export XENPV_CUSTODIAN=$stage/libexec/xenpv/xenpv-custodian

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
    export PKG_CONFIG_PATH=$stage/$libdir/pkgconfig
    flags=$(pkg-config --cflags --libs xenpv)
    # shellcheck disable=SC2086  # split into flags
    "$CXX" -std=c++20 "$here/consumer/main.cpp" $flags -o "$work/consumer-pkg-config"
    run_consumer "$work/consumer-pkg-config"
    # The program in the README.
    awk '/^```cpp/ { inside = 1; next } /^```/ { inside = 0 } inside' "$here/../../README.md" >"$work/readme.cpp"
    # shellcheck disable=SC2086
    "$CXX" -std=c++20 "$work/readme.cpp" $flags -o "$work/readme"
    "$stage/bin/xenpv-sim" run --disk xvdb,memory=16M -- "$work/readme" || fail "the program in the README failed"
    if [[ ! -e /dev/xen/evtchn ]]; then
      status=0
      "$work/readme" 2>"$work/readme.log" || status=$?
      [[ $status == 1 && -s $work/readme.log ]] || fail "outside Xen, the program in the README does not report an error"
    fi
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
      for file in "zsh/site-functions/_$name" "fish/vendor_completions.d/$name.fish"; do
        grep -q "[ ]$name\( \|$\)" "$stage/share/$file" || fail "share/$file is missing or lacks $name"
      done
    done
    for schema in "$stage"/share/xenpv/schema/*.schema.json; do
      python3 -m json.tool "$schema" >/dev/null || fail "$schema is not valid JSON"
    done
    for file in prometheus/xenpv-disk.rules.yml prometheus/xenpv-doctor.rules.yml grafana/xenpv-disk.json; do
      [[ -s $stage/share/xenpv/$file ]] || fail "share/xenpv/$file is missing"
    done
    [[ -s $stage/share/man/man7/xenpv-monitoring.7 ]] || fail "the man page xenpv-monitoring(7) is missing"
    grep -q "ExecStart=.*$stage/bin/xenpv-disk status" "$stage/lib/systemd/system/xenpv-disk-metrics.service" ||
      fail "xenpv-disk-metrics.service does not start the installed program"
    grep -q "ExecStart=.*$stage/bin/xenpv-doctor --prometheus" "$stage/lib/systemd/system/xenpv-doctor.service" ||
      fail "xenpv-doctor.service does not start the installed program"
    [[ -s $stage/lib/systemd/system/xenpv-doctor.timer ]] || fail "xenpv-doctor.timer is missing"
    if [[ -e $stage/bin/xenpv-sim ]]; then
      [[ -s $stage/$libdir/xenpv/libxensim.so ]] || fail "libxensim.so is not in $libdir/xenpv"
    fi
    ! grep -rl "$prefix/include\|$work/\.\." "$stage/$libdir/cmake" ||
      fail "the CMake files contain a path of the build machine"
    # Private libraries must not be installed.
    [[ ! -e $stage/$libdir/libxenpv_sim.a ]] || fail "the private library of the simulator is installed"
    ;;
  units)
    [[ $(cat "$stage/lib/sysusers.d/xenpv.conf") == *"u xenpv "* ]] || fail "sysusers.d does not create the user xenpv"
    for node in evtchn gntalloc gntdev xenbus; do
      grep -q "KERNEL==\"xen/$node\", GROUP=\"xenpv\", MODE=\"0660\"" "$stage/lib/udev/rules.d/70-xenpv.rules" ||
        fail "the udev rules do not cover /dev/xen/$node"
    done
    # Before 60-persistent-storage.rules, which would give the links of a file system to the disk itself.
    grep -q "multi-user.target.wants/xenpv-disk@%k.service" "$stage/lib/udev/rules.d/55-xenpv-disk.rules" ||
      fail "the udev rules do not hide a disk that xenpv-disk@.service takes over"
    grep -q "^ListenStream=%t/xenpv/%i.sock" "$stage/lib/systemd/system/xenpv-serve@.socket" ||
      fail "xenpv-serve@.socket does not listen on the server's usual path"
    command -v systemd-analyze >/dev/null || exit 77
    units=$stage/lib/systemd/system
    for unit in xenpv-disk@xvdb.service xenpv-serve@xvdb.service xenpv-serve@xvdb.socket xenpv-disk-metrics.service \
      xenpv-disk-metrics.timer xenpv-doctor.service xenpv-doctor.timer; do
      output=$(SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --man=no "$units/$unit" 2>&1) ||
        fail "systemd-analyze verify $unit: $output"
      [[ -z $output ]] || fail "systemd-analyze verify $unit: $output"
    done
    # These must see the open files of all processes, or they would take over a disk in use.
    for command in "ExecStartPre=-+.*/xenpv-disk release %i" "ExecStop=-+.*/xenpv-disk detach %i" \
      "ExecStopPost=-+.*/xenpv-disk release --undo %i"; do
      grep -q "^$command\$" "$stage/lib/systemd/system/xenpv-disk@.service" ||
        fail "xenpv-disk@.service lacks, or restricts, $command"
    done
    grep -q "^CapabilityBoundingSet=.*CAP_SYS_PTRACE.*CAP_DAC_READ_SEARCH" \
      "$stage/lib/systemd/system/xenpv-serve@.service" ||
      fail "xenpv-serve@.service cannot see which processes have a disk open"
    grep -q "^ReadWritePaths=.*/sys/bus/xen/drivers" "$stage/lib/systemd/system/xenpv-serve@.service" ||
      fail "xenpv-serve@.service cannot take over a disk"
    grep -q "^ReadWritePaths=.*/sys/devices/virtual/block" "$stage/lib/systemd/system/xenpv-disk@.service" ||
      fail "xenpv-disk@.service cannot set the kernel's time limit for requests"
    # In tenths: 20 is an exposure level of 2.0.
    for limit in xenpv-disk@.service=20 xenpv-serve@.service=20 xenpv-disk-metrics.service=20; do
      unit=${limit%=*}
      output=$(systemd-analyze security --offline=true --no-pager --threshold="${limit#*=}" "$units/$unit" 2>&1) ||
        fail "$unit is too exposed: $output"
    done
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
