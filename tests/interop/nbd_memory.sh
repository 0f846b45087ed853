#!/usr/bin/env bash
# nbd_memory.sh XENPV_SIM XENPV_DISK: checks that an idle xenpv-disk server uses little memory, and
# that a million requests do not increase the server's memory usage.
source "$(dirname "$0")/check.sh"
disk=$2
requires fio
most_idle_kib=$((20 * 1024)) most_growth_kib=1024 requests=${REQUESTS:-1000000}

# Sanitizers do not release freed memory.
if is_sanitized "$disk"; then
  echo "skipped: meaningless for a build with sanitizers"
  exit 77
fi

# shellcheck disable=SC2016 # expanded by the shell in the guest
"$sim" run --disk xvdb,memory=64M -- "$disk" run xvdb -- bash -euo pipefail -c '
  server=$PPID most_idle=$1 most_growth=$2 requests=$3
  # Only RssAnon and RssFile count against the limits. In the simulator, granted pages are shared
  # memory (RssShmem).
  resident() {
    awk "/^RssAnon|^RssFile/ { sum += \$2 } END { print sum }" "/proc/$server/status"
  }
  reads() {
    fio --name=x --ioengine=nbd --uri="$uri" --rw=randrw --bsrange=4k-256k --bssplit=4k/90:64k/8:256k/2 \
      --iodepth=32 --size=64m --number_ios="$1" --io_size=1t --norandommap --thread --output=/dev/null
  }
  idle=$(resident)
  # Warm up, so that buffers and lists grow to the size that this load needs.
  reads $((requests / 20))
  before=$(resident)
  reads "$requests"
  after=$(resident)
  echo "idle $idle KiB, after $((requests / 20)) requests $before KiB, after $requests more $after KiB"
  [ "$idle" -le "$most_idle" ] || { echo "uses more than $most_idle KiB while idle" >&2; exit 1; }
  [ "$((after - before))" -le "$most_growth" ] || { echo "grows by more than $most_growth KiB" >&2; exit 1; }
' sh "$most_idle_kib" "$most_growth_kib" "$requests"
