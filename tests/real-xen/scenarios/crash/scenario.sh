# The server is killed several times under load. Each time, the backend is released immediately, the
# next server can connect, and all flushed writes are on the disk, even when domain 0 reads it.
programs=(xenpv-disk xenpv-custodian)
short_places='pv'
limit=300
memory=768

mib=$((1 << 20)) block=$((64 << 10)) most_blocks=512
kills=3

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 256M
  disk xvdb /dev/loop0 w
}

toolstack() {
  case $1 in
    sum) dd if=/dev/loop0 bs="$block" count="$2" iflag=direct status=none | md5sum ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

# start_server NAME [OPTION...]: starts a server and connects /dev/nbd0; sets `server`.
start_server() {
  local name=$1
  shift
  xenpv-disk serve xvdb "$@" >"$results/$name.out" 2>"$results/$name.log" &
  server=$!
  check "$name.ready" awaits 30 grep -q nbd-client "$results/$name.out"
  check "$name.connect" bash -c "$(grep nbd-client "$results/$name.out")"
}

# write_blocks: writes and flushes one block after another until an error; the file `written`
# contains the number of the next block.
write_blocks() {
  local number
  for ((number = $(<"$results/written"); number < most_blocks; number++)); do
    dd if=/tmp/blocks of=/dev/nbd0 bs="$block" skip="$number" seek="$number" count=1 oflag=direct,dsync \
      status=none 2>/dev/null || return 0
    echo $((number + 1)) >"$results/written"
  done
}

has_written() { [[ $(<"$results/written") -ge $1 ]]; }
is_released() { grep -Eq '^xvdb .* nobody ' <(xenpv-disk list); }

kill_under_load() { # NAME
  local writer load before
  before=$(<"$results/written")
  # Write to the other half of the disk, so that many requests are in flight.
  fio --name=load --filename=/dev/nbd0 --direct=1 --ioengine=libaio --rw=randwrite --bsrange=4k-256k \
    --iodepth=16 --offset=128M --size=128M --time_based --runtime=120 --thread --output="$results/$1.fio" &
  load=$!
  write_blocks &
  writer=$!
  check "$1.writes" awaits 60 has_written $((before + 20))
  kill -KILL "$server"
  wait "$server"
  check "$1.released" awaits 10 is_released
  nbd-client -d /dev/nbd0 >/dev/null 2>&1
  wait "$writer" "$load"
  value "$1.status" "$(xenstore-read device/vbd/51728/state)"
}

main() {
  local number
  modprobe nbd
  dd if=/dev/urandom of=/tmp/blocks bs=$mib count=$((most_blocks * block / mib)) status=none
  echo 0 >"$results/written"
  start_server first --take
  for ((number = 1; number <= kills; number++)); do
    kill_under_load "kill-$number"
    start_server "again-$number"
    check "again-$number.data" cmp -n $(($(<"$results/written") * block)) /tmp/blocks /dev/nbd0
  done
  check last.disconnect nbd-client -d /dev/nbd0
  kill -TERM "$server"
  check last.end wait "$server"
  number=$(<"$results/written")
  value blocks "$number"
  same last.sum "$(ask sum "$number")" "$(head -c $((number * block)) /tmp/blocks | md5sum)"
  value kernel_complaints "$(dmesg | grep -Ec 'BUG|WARNING|Oops')"
  ask over
}
