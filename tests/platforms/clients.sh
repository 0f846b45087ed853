#!/usr/bin/env bash
# Runs the interop tests of xenpv-disk with the NBD clients of another Debian release; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/platforms/clients.sh [--root DIR] RELEASE XENPV_SIM XENPV_DISK [TEST...]

Creates a minimal chroot of the Debian release RELEASE (bookworm or trixie) with its NBD clients: libnbd,
nbdkit, qemu, nbd-client, fio and GnuTLS. Runs the interop tests outside the chroot, with these clients in
place of the installed ones: the tests see them in a private mount namespace. The server is the program
XENPV_DISK, on the simulator XENPV_SIM.

The default tests are nbd_clients, nbd_tools, nbd_tls, nbd_multi_conn, third_party and extended_headers. The
last one is part of this script. Must be run as root.

  --root DIR   keep the chroot in DIR, or reuse the one that an earlier run left there

XENPV_DEBIAN_MIRROR: the mirror to use instead of the default of mmdebstrap.
The last line is "N passed, N failed". Logs are in build/logs/platforms.
Exit status: 0 if nothing failed, 1 if something failed, 2 if the command line is invalid, 77 if the
chroot cannot be created on this machine.
TEXT
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
packages=(fio gnutls-bin libnbd-bin nbd-client nbdkit python3-libnbd qemu-utils)
programs=(certtool fio gnutls-cli nbd-client nbdcopy nbddump nbdinfo nbdkit nbdsh psktool qemu-img qemu-io qemu-nbd)

source "$top/tests/platforms/chroot.sh"

parse_command_line 2 "$@"
sim=$(realpath "${arguments[0]}")
disk=$(realpath "${arguments[1]}")
tests=("${arguments[@]:2}")
[[ ${#tests[@]} -gt 0 ]] || tests=(nbd_clients nbd_tools nbd_tls nbd_multi_conn third_party extended_headers)

make_chroot
work=$(mktemp -d "${TMPDIR:-/tmp}/xenpv-clients-XXXXXX")
remove_at_exit+=("$work")
install_inside "${packages[@]}"

# Each client is a script that enters the chroot and stays in the current directory, if that exists there.
for program in "${programs[@]}"; do
  path=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /bin/sh -c "command -v $program") ||
    fail "$program is missing in the chroot"
  cat >"$work/$program" <<SCRIPT
#!/bin/sh
[ -d "$root\$PWD" ] && folder=\$PWD || folder=/
exec /usr/sbin/chroot "$root" /usr/bin/env -C "\$folder" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$path" "\$@"
SCRIPT
  chmod +x "$work/$program"
done
echo "clients of $release:" "$(chroot "$root" dpkg-query -W -f '${Package} ${Version}  ' "${packages[@]}")"

# with_clients COMMAND...: runs COMMAND in a mount namespace in which the chroot's clients replace the installed ones,
# and in which the chroot shares the folders that tests use.
with_clients() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount -- bash -euc '
    root=$1 work=$2 top=$3
    shift 3
    for folder in /tmp /dev /proc /sys "$top"; do
      mkdir -p "$root$folder"
      mount --rbind "$folder" "$root$folder"
    done
    for script in "$work"/*; do
      path=$(command -v "${script##*/}" || true)
      [ -z "$path" ] || mount --bind "$script" "$(realpath "$path")"
    done
    PATH=$work:$PATH exec "$@"' bash "$root" "$work" "$top" "$@"
}

# Debian 13: libnbd 1.18 and qemu 8.2 and later negotiate extended headers.
extended_headers() {
  if [[ $release == bookworm ]]; then
    echo "skipped: the clients of $release do not support extended headers"
    return 77
  fi
  # shellcheck disable=SC2016  # expanded by the inner shell
  with_clients "$sim" run --disk xvdb,memory=64M -- "$disk" run xvdb -- bash -euxo pipefail -c '
    nbdinfo "$uri" | tee /dev/stderr | grep -q "^protocol: newstyle-fixed .*using extended packets"
    nbdinfo --has extended-headers "$uri"
    nbdsh -u "$uri" -c "
assert h.get_extended_headers_negotiated()
h.pwrite(bytes([7]) * 65536, 4096)
assert h.pread(65536, 4096) == bytes([7]) * 65536
h.zero(64 << 20, 0)
assert h.pread(65536, 4096) == bytes(65536)
h.trim(64 << 20, 0)
h.flush()
"
    qemu-io -f raw -c "write -P 3 1M 1M" -c "read -P 3 1M 1M" -c "write -z 0 64M" -c "read -P 0 0 32M" -c flush "$uri"'
}

run_test() {
  if [[ $1 == extended_headers ]]; then
    extended_headers
  else
    with_clients bash "$top/tests/interop/$1.sh" "$sim" "$disk"
  fi
}

passed=0 failed=0
for test in "${tests[@]}"; do
  log=$logs/$release-clients-$test.log
  status=0
  (run_test "$test") >"$log" 2>&1 || status=$?
  case $status in
    0)
      passed=$((passed + 1))
      echo "ok      $release $test: $(tail -n 1 "$log")"
      ;;
    77) echo "skipped $release $test: $(tail -n 1 "$log")" ;;
    *)
      failed=$((failed + 1))
      echo "FAILED  $release $test: see $log"
      tail -n 20 "$log" >&2
      ;;
  esac
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
