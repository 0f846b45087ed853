# Compares the block engine and the NBD server with existing software, on RAM disks with the same
# blkback. In each round, every load runs once on every setup. Other activity on the machine changes
# the results within seconds, so only results from the same round are compared. Reports the medians
# of these ratios over all rounds:
#   bench.LOAD       xenpv-disk bench to the better of two fio engines on the kernel block device
#   socket.LOAD      fio's NBD client on xenpv-disk to the better of two fio engines on the kernel block device
#   nbd_client.LOAD  the kernel NBD client on xenpv-disk to the better of the kernel NBD client on nbdkit
#                    and on qemu-nbd
#   ublk.LOAD        a block device of the kernel's ublk driver on xenpv-disk to the better of two fio engines on
#                    the kernel block device; only where Linux has this driver
#   no_disk.LOAD     the kernel NBD client on nbdkit without a disk, the limit set by NBD alone, to the better
#                    of the kernel NBD client on nbdkit and on qemu-nbd
programs=(xenpv-disk xenpv-custodian)
short_places=none
limit=900
# An emulated TSC slows down the kernel driver, which reads the clock often, more than xenpv-disk.
tsc_mode=native
memory=768

rounds=3 seconds=1
loads=(randread-4k-1 randwrite-4k-1 randread-4k-32 randwrite-4k-32 read-1M-4 write-1M-4)
ways=(libaio io_uring nbdkit qemu_nbd nbd_client no_disk socket bench)

dom0_before() {
  disk xvdb /dev/ram1 w
  disk xvdc /dev/ram2 w
  disk xvdd /dev/ram3 w
  disk xvde /dev/ram4 w
}

# Like xenpv-disk, the other servers bypass the page cache of the kernel block device. Otherwise,
# the test would measure memory.
start_servers() {
  nbdkit --unix /run/nbdkit.sock file /dev/xvdb cache=none
  nbdkit --unix /run/no-disk.sock null size=256M
  qemu-nbd --fork --persistent --shared=4 --socket=/run/qemu-nbd.sock --format=raw --cache=none --aio=native \
    --discard=unmap /dev/xvdb
  xenpv-disk serve xvdc --take --unix /run/xenpv.sock >"$results/serve.out" 2>"$results/serve.log" &
  server=$!
  check serve awaits 60 grep -q nbd-client "$results/serve.out"
  modprobe nbd
  check connect.nbdkit nbd-client -unix /run/nbdkit.sock /dev/nbd0
  check connect.qemu_nbd nbd-client -unix /run/qemu-nbd.sock /dev/nbd1
  check connect.xenpv nbd-client -unix /run/xenpv.sock -N xvdc /dev/nbd2
  check connect.no_disk nbd-client -unix /run/no-disk.sock /dev/nbd3
  if modprobe -q ublk_drv; then
    check connect.ublk xenpv-disk attach xvde --take --driver ublk --background
    ways+=(ublk)
  else
    skip connect.ublk "this kernel has no ublk driver"
  fi
}

# fio_rates FIO-OPTION...: prints lines "LOAD RATE". The unit is requests per second, or MB/s for 1M
# blocks.
fio_rates() {
  local load kind block depth jobs=()
  for load in "${loads[@]}"; do
    IFS=- read -r kind block depth <<<"$load"
    jobs+=(--name="$load" --stonewall --rw="$kind" --bs="$block" --iodepth="$depth")
  done
  # In the terse output, fields 7 and 8 are the KiB/s and IOPS of reads; fields 48 and 49 are the
  # KiB/s and IOPS of writes.
  fio --minimal --direct=1 --thread --time_based --runtime="$seconds" --size=256M "$@" "${jobs[@]}" \
    2>>"$results/fio.log" |
    awk -F ';' 'NF > 49 { printf "%s %.0f\n", $3, $3 ~ /1M/ ? ($7 + $48) * 1024 / 1e6 : $8 + $49 }'
}

# bench_rates: prints such lines from the output of xenpv-disk bench, whose lines are "randread 4k
# depth 1 xenpv IOPS MB/S ...". xenpv-disk bench uses one queue, like fio's single thread.
bench_rates() {
  xenpv-disk bench xvdd --take --engine xenpv --queues 1 --overwrite --time "${seconds}s" 2>>"$results/bench.log" |
    awk '$5 == "xenpv" { sub(/^1024k$/, "1M", $2); print $1 "-" $2 "-" $4, $2 == "1M" ? $7 : $6 }'
}

rates() { # WAY
  case $1 in
    libaio | io_uring) fio_rates --ioengine="$1" --filename=/dev/xvdb ;;
    nbdkit) fio_rates --ioengine=libaio --filename=/dev/nbd0 ;;
    qemu_nbd) fio_rates --ioengine=libaio --filename=/dev/nbd1 ;;
    nbd_client) fio_rates --ioengine=libaio --filename=/dev/nbd2 ;;
    ublk) fio_rates --ioengine=libaio --filename=/dev/ublkb0 ;;
    no_disk) fio_rates --ioengine=libaio --filename=/dev/nbd3 ;;
    socket) fio_rates --ioengine=nbd --uri='nbd+unix:///xvdc?socket=/run/xenpv.sock' ;;
    bench) bench_rates ;;
  esac
}

# run_round ROUND: appends lines "ROUND WAY LOAD RATE" to rounds.txt.
run_round() {
  local way
  for way in "${ways[@]}"; do rates "$way" | sed "s/^/$1 $way /"; done >>"$results/rounds.txt"
}

# median LOAD WAY [BASE...]: prints the median rate of WAY, or the median ratio of its rate to the
# best BASE.
median() {
  awk -v load="$1" -v way="$2" -v bases="${*:3}" '
    $3 == load { rate[$1, $2] = $4; if ($1 > last) last = $1 }
    END {
      count = split(bases, base, " ")
      for (round = 1; round <= last; round++) {
        best = count ? 0 : 1
        for (i = 1; i <= count; i++) if (rate[round, base[i]] > best) best = rate[round, base[i]]
        print best ? rate[round, way] / best : 0
      }
    }' "$results/rounds.txt" | sort -g | awk '{ line[NR] = $1 } END { printf "%.2f\n", line[int((NR + 1) / 2)] }'
}

print_table() {
  local load way
  printf '%-16s' load "${ways[@]}" bench/kernel socket/kernel client/peers no_disk/peers ublk/kernel
  echo
  for load in "${loads[@]}"; do
    printf '%-16s' "$load"
    for way in "${ways[@]}"; do printf '%-16.0f' "$(median "$load" "$way")"; done
    printf '%-16s' "$(median "$load" bench libaio io_uring)" "$(median "$load" socket libaio io_uring)" \
      "$(median "$load" nbd_client nbdkit qemu_nbd)" "$(median "$load" no_disk nbdkit qemu_nbd)" \
      "$(median "$load" ublk libaio io_uring)"
    echo
  done
}

main() {
  local load round
  # Write all pages first, because reading a RAM disk's unwritten pages is almost free.
  dd if=/dev/zero of=/dev/xvdb bs=1M count=256 oflag=direct status=none
  start_servers
  dd if=/dev/zero of=/dev/nbd2 bs=1M count=256 oflag=direct status=none
  [[ ! -e /dev/ublkb0 ]] || dd if=/dev/zero of=/dev/ublkb0 bs=1M count=256 oflag=direct status=none
  xenpv-disk bench xvdd --take --engine xenpv --overwrite --load write --block 1M --depth 4 --time 2s
  for ((round = 1; round <= rounds; round++)); do run_round "$round"; done
  print_table | tee "$results/table.txt"
  for load in "${loads[@]}"; do
    value "bench.$load" "$(median "$load" bench libaio io_uring)"
    value "socket.$load" "$(median "$load" socket libaio io_uring)"
    value "nbd_client.$load" "$(median "$load" nbd_client nbdkit qemu_nbd)"
    value "no_disk.$load" "$(median "$load" no_disk nbdkit qemu_nbd)"
    [[ ! -e /dev/ublkb0 ]] || value "ublk.$load" "$(median "$load" ublk libaio io_uring)"
  done
  [[ ! -e /dev/ublkb0 ]] || check detach xenpv-disk detach xvde
  nbd-client -d /dev/nbd2
  kill -TERM "$server"
  check end wait "$server"
}
