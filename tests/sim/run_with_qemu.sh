#!/usr/bin/env bash
# run_with_qemu.sh XENPV_SIM LOGS COMMAND...: runs COMMAND in a simulated guest whose disks are served
# by QEMU (backend=qemu-real): xvdb and xvdc, and the CD-ROM xvdd. QEMU's logs are kept in the
# directory LOGS. Exit status 77 means that QEMU is not installed.
#
# Environment: XENPV_QEMU_FULL=1 selects the full test: 1 GiB, 100 kills, 60 seeds; it takes long.
# XENPV_QEMU_BYTES, XENPV_QEMU_KILLS and XENPV_RECOVERY_SEEDS select each of these.
set -euo pipefail
sim=$1 logs=$2
shift 2

bytes=$((64 << 20)) kills=10 seeds=10
if [[ ${XENPV_QEMU_FULL:-0} == 1 ]]; then
  bytes=$((1 << 30)) kills=100 seeds=60
fi
export XENPV_QEMU_BYTES=${XENPV_QEMU_BYTES:-$bytes}
export XENPV_QEMU_KILLS=${XENPV_QEMU_KILLS:-$kills}
export XENPV_RECOVERY_SEEDS=${XENPV_RECOVERY_SEEDS:-$seeds}
export XENPV_RECOVERY_QEMU=1

dir=$(mktemp -d "${TMPDIR:-/tmp}/xenpv-qemu-XXXXXX")
trap 'rm -rf "$dir"' EXIT
truncate -s "$XENPV_QEMU_BYTES" "$dir/xvdb"
truncate -s 32M "$dir/xvdc"
truncate -s 8M "$dir/xvdd"

mkdir -p "$logs"
rm -f "$logs"/backend-*.log
export XENPV_SIM_BACKEND_LOG=$logs
status=0
"$sim" run --disk "xvdb,file=$dir/xvdb,backend=qemu-real" --disk "xvdc,file=$dir/xvdc,backend=qemu-real" \
  --disk "xvdd,file=$dir/xvdd,cdrom,ro,backend=qemu-real" -- "$@" || status=$?
if [[ $status -ne 0 && $status -ne 77 ]]; then
  echo "QEMU's logs, from $logs:"
  tail -n 40 "$logs"/backend-*.log || true
fi
exit "$status"
