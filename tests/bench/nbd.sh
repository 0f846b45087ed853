#!/usr/bin/env bash
# tests/bench/nbd.sh [BUILD_DIR] [ROUNDS]: prints a table that compares xenpv-disk with other NBD
# servers. All servers run on CPU 0, xenpv-disk together with the simulator and its backend; fio
# runs on CPU 1. Each server serves 1 GiB of memory over a Unix socket. Results are medians of
# interleaved rounds; compare only results from the same run. Omits servers that are not installed;
# to install them: packaging/debian/install-packages.sh test bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/try} rounds=${2:-3} seconds=${SECONDS_EACH:-2}
[ -x "$build/bin/xenpv-disk" ] || {
  echo "tests/bench/nbd.sh: no xenpv-disk in $build; build it first, or specify the build directory" >&2
  exit 2
}
for tool in fio nbdinfo python3 taskset; do
  command -v "$tool" >/dev/null || {
    echo "tests/bench/nbd.sh: $tool is missing: packaging/debian/install-packages.sh test bench" >&2
    exit 77
  }
done
[ "$(nproc)" -ge 2 ] || {
  echo "tests/bench/nbd.sh: two CPUs are required, one for the servers and one for fio" >&2
  exit 77
}

dir=$(mktemp -d /dev/shm/xenpv-bench-XXXXXX)
servers=() names=()
end() {
  # xenpv-disk drains on SIGTERM, and `xenpv-sim run` exits when its command exits.
  [ ! -f "$dir/nbd-server.pid" ] || kill "$(cat "$dir/nbd-server.pid")" 2>/dev/null || true
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap end EXIT

uri_of() {
  case $1 in
    xenpv) echo "nbd+unix:///xvdb?socket=$dir/xenpv" ;;
    nbd-server) echo "nbd+unix:///disk?socket=$dir/nbd-server" ;;
    *) echo "nbd+unix:///?socket=$dir/$1" ;;
  esac
}

# serve NAME PROGRAM COMMAND...: starts a server on the socket $dir/NAME.
serve() {
  local name=$1 program=$2
  shift 2
  command -v "$program" >/dev/null || {
    echo "# $program is not installed: omitted"
    return 0
  }
  taskset -c 0 "$@" >"$dir/$name.log" 2>&1 &
  servers+=($!)
  names+=("$name")
  for _ in $(seq 100); do
    nbdinfo --size "$(uri_of "$name")" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "tests/bench/nbd.sh: $name did not start:" >&2
  cat "$dir/$name.log" >&2
  exit 1
}

truncate -s 1G "$dir/disk" "$dir/disk2" "$dir/disk3"
# Write all pages once, so that the benchmark does not measure the kernel's page allocation.
for file in disk disk2 disk3; do dd if=/dev/urandom of="$dir/$file" bs=1M count=1024 conv=notrunc status=none; done
printf '[generic]\nunixsock = %s\nallowlist = true\n[disk]\nexportname = %s\nflush = true\nfua = true\n' \
  "$dir/nbd-server" "$dir/disk3" >"$dir/nbd-server.conf"
serve xenpv "$build/bin/xenpv-disk" "$build/bin/xenpv-sim" run --disk xvdb,memory=1G -- \
  "$build/bin/xenpv-disk" serve xvdb --unix "$dir/xenpv"
serve nbdkit-memory nbdkit nbdkit -f -U "$dir/nbdkit-memory" memory 1G
serve nbdkit-file nbdkit nbdkit -f -U "$dir/nbdkit-file" file "$dir/disk"
serve qemu-nbd qemu-nbd qemu-nbd -t -f raw -k "$dir/qemu-nbd" --shared=8 "$dir/disk2"
# In the foreground, nbd-server would serve only one client.
serve nbd-server nbd-server nbd-server -C "$dir/nbd-server.conf" -p "$dir/nbd-server.pid"

# measure LOAD SERVER RW BLOCK DEPTH: appends one line to the results.
measure() {
  local load=$1 server=$2
  shift 2
  taskset -c 1 fio --name=x --ioengine=nbd --uri="$(uri_of "$server")" --rw="$1" --bs="$2" --iodepth="$3" \
    --size=1g --time_based --runtime="$seconds" --ramp_time=0.3 --norandommap --randrepeat=0 --thread \
    --output-format=json --output="$dir/fio.json" >"$dir/fio.err" 2>&1 || {
    cat "$dir/fio.err" >&2
    grep '^fio' "$dir/fio.json" >&2 || true
    exit 1
  }
  [ -s "$dir/fio.json" ] || { cat "$dir/fio.err" "$dir/$server.log" >&2; exit 1; }
  python3 tests/bench/fio_figures.py "$load" "$server" <"$dir/fio.json" >>"$dir/figures"
}

loads=("randread-4k-1 randread 4k 1" "randwrite-4k-1 randwrite 4k 1" "randread-4k-32 randread 4k 32"
  "randwrite-4k-32 randwrite 4k 32" "read-128k-8 read 128k 8" "write-128k-8 write 128k 8" "read-1M-4 read 1m 4"
  "write-1M-4 write 1m 4")
# Also write all pages of the memory servers once.
for server in "${names[@]}"; do measure warm-up "$server" write 1m 4; done
for ((round = 0; round < rounds; ++round)); do
  for load in "${loads[@]}"; do
    read -r name rw block depth <<<"$load"
    for server in "${names[@]}"; do measure "$name" "$server" "$rw" "$block" "$depth"; done
  done
done
python3 tests/bench/fio_figures.py --table <"$dir/figures"
