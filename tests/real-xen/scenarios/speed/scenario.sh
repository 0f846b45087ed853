# The block engine beside the kernel's frontend: the same ram disk behind blkback, one after the other.
# The reported ratios are ours to the better of fio's two engines.
programs=(bench_block)
limit=600
memory=768

seconds=4
loads=(randread-4k-1 randwrite-4k-1 randread-4k-32 randwrite-4k-32 read-1M-4 write-1M-4)

dom0_before() { disk xvdb /dev/ram1 w; }

# fio_rates ENGINE: "LOAD RATE" lines; requests a second, or with blocks of 1M megabytes a second.
fio_rates() {
  local load kind block depth jobs=()
  for load in "${loads[@]}"; do
    IFS=- read -r kind block depth <<<"$load"
    jobs+=(--name="$load" --stonewall --rw="$kind" --bs="$block" --iodepth="$depth")
  done
  # Of the terse output, reading has its KiB/s and IOPS in fields 7 and 8, writing in 48 and 49.
  fio --minimal --filename=/dev/xvdb --direct=1 --ioengine="$1" --thread --time_based \
    --runtime="$seconds" "${jobs[@]}" 2>>"$results/fio.log" |
    awk -F ';' 'NF > 49 { printf "%s %.0f\n", $3, $3 ~ /1M/ ? ($7 + $48) * 1024 / 1e6 : $8 + $49 }'
}

main() {
  local load ours kernel libaio io_uring rate events notifies
  # Pages that were never written cost the ram disk nothing to read.
  dd if=/dev/zero of=/dev/xvdb bs=1M count=256 oflag=direct status=none
  fio_rates libaio >"$results/libaio.txt"
  fio_rates io_uring >"$results/io_uring.txt"
  bench_block --speed "${seconds}000" "$(take_disk xvdb)" >"$results/ours.txt" || fail bench_block "exit status $?"
  head -n 1 "$results/ours.txt"
  printf '%-16s %8s %8s %8s %8s %8s %8s\n' load libaio io_uring ours ratio events notifies
  for load in "${loads[@]}"; do
    libaio=$(rate_of "$load" libaio)
    io_uring=$(rate_of "$load" io_uring)
    read -r _ ours _ events notifies <<<"$(grep "^$load " "$results/ours.txt")"
    kernel=$((libaio > io_uring ? libaio : io_uring))
    rate=$(awk -v a="${ours:-0}" -v b="$kernel" 'BEGIN { printf "%.2f", b ? a / b : 0 }')
    printf '%-16s %8s %8s %8s %8s %8s %8s\n' "$load" "$libaio" "$io_uring" "$ours" "$rate" "$events" "$notifies"
    value "$load" "$rate"
  done
}

# rate_of LOAD ENGINE: 0 if it did not come about.
rate_of() {
  awk -v load="$1" '$1 == load { rate = $2 } END { print rate + 0 }' "$results/$2.txt"
}
