#!/usr/bin/env bash
# packages_lifecycle.sh DIRECTORY: installs the Debian packages in DIRECTORY, upgrades them to a higher version while a
# server runs, and purges them. Changes the system, so packages.sh runs it in a minimal chroot.
set -euo pipefail

packages=$(realpath "$1")
names=(xenpv xenpv-sim libxenpv-dev libxenpv-doc)
work=$(mktemp -d /var/tmp/lifecycle-XXXXXX)
calls=$work/systemctl-calls
export DEBIAN_FRONTEND=noninteractive

fail() {
  echo "packages_lifecycle.sh: $*" >&2
  exit 1
}

install() {
  apt-get -q -y --no-install-recommends install "$@"
}

# snapshot FILE: writes all files of the system with their owners and permissions, and the contents of /etc, to FILE.
snapshot() {
  {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /var/cache \
      -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /packages -o -path /root \) -prune -o \
      -printf '%p %y %m %u:%g %l\n'
    find /etc -type f ! -name ld.so.cache ! -name '*-' -exec sha256sum {} +
    dpkg-query -W -f '${Package} ${Status}\n'
    find /var/lib/dpkg/info /var/lib/dpkg/alternatives -type f
  } | LC_ALL=C sort >"$1"
}

# make_next_version: repacks the packages with a higher version.
make_next_version() {
  local name version tree=$work/tree
  mkdir -p "$work/next"
  for name in "${names[@]}"; do
    rm -rf "$tree"
    dpkg-deb -R "$packages/$name"_*.deb "$tree"
    version=$(dpkg-deb -f "$packages/$name"_*.deb Version)
    sed -i "/^\(Version\|Depends\|Recommends\):/s/${version//./\\.}/&+1/g" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$tree" "$work/next/$name.deb" >/dev/null
  done
}

# Records the calls that the packages' scripts make. The system appears to run systemd, with a disk attached.
fake_systemd() {
  [[ ! -e /usr/bin/systemctl ]] || fail "this system has systemd"
  mkdir -p /run/systemd/system
  cat >/usr/bin/systemctl <<SCRIPT
#!/bin/sh
echo "\$*" >>$calls
case "\$*" in
  *list-units*) [ ! -e $work/attached ] || echo "xenpv-disk@xvdb.service loaded active running PV disk xvdb" ;;
esac
SCRIPT
  chmod +x /usr/bin/systemctl
  touch "$work/attached" "$calls"
}

# wait_for DESCRIPTION COMMAND...: waits until COMMAND succeeds, for at most a minute.
wait_for() {
  local description=$1 end=$((SECONDS + 60))
  shift
  until "$@"; do
    [[ $SECONDS -lt $end ]] || fail "timeout: $description"
    sleep 0.1
  done
}

# The simulated guest's server, started as root.
start_server() {
  xenpv-sim start --dir "$work/host" --disk xvdb,memory=64M --allow-user xenpv
  xenpv-sim exec --dir "$work/host" -- xenpv-disk serve xvdb >"$work/server.log" 2>&1 &
  wait_for "the server starts" grep -q '^nbd+unix:' "$work/server.log"
  uri=$(grep -m 1 '^nbd+unix:' "$work/server.log")
  server=$(pgrep -o -x xenpv-disk)
  [[ $(awk '/^Uid:/ { print $2 }' "/proc/$server/status") == $(id -u xenpv) ]] || fail "the server does not run as the user xenpv"
}

# Writes and reads the disk until the file $work/stop exists. Its last line is the number of rounds.
use_disk() {
  local rounds=0
  while [[ ! -e $work/stop ]]; do
    head -c 4M /dev/urandom >"$work/written"
    nbdcopy --flush "$work/written" "$uri"
    nbdcopy "$uri" "$work/read"
    cmp -n 4194304 "$work/read" "$work/written"
    rounds=$((rounds + 1))
  done
  echo "$rounds"
}

install libnbd-bin procps systemd-standalone-sysusers systemd-standalone-tmpfiles
snapshot "$work/before"

echo "== install"
files=()
for name in "${names[@]}"; do files+=("$packages/$name"_*.deb); done
install "${files[@]}"
for name in "${names[@]}"; do
  [[ $(dpkg-query -W -f '${Status}' "$name") == "install ok installed" ]] || fail "$name is not installed"
done
[[ -z $(dpkg --verify "${names[@]}" | grep -v ' /usr/share/doc/' || true) ]] || fail "installed files differ from the packages"
[[ $(find /etc -name '*xenpv*') == "" ]] || fail "the installation has enabled a unit"

echo "== upgrade"
make_next_version
start_server
fake_systemd
use_disk >"$work/use.log" 2>&1 &
use=$!
wait_for "the disk is written" test -s "$work/written"
install "$work"/next/*.deb
for name in "${names[@]}"; do
  [[ $(dpkg-query -W -f '${Version}' "$name") == *+1 ]] || fail "$name was not upgraded"
done
touch "$work/stop"
wait "$use" || fail "the disk had errors during the upgrade: $(cat "$work/use.log")"
[[ $(pgrep -o -x xenpv-disk) == "$server" ]] || fail "the server is not the same after the upgrade"
! grep -E '(^| )(stop|restart|try-restart|reload-or-restart|kill|start) ' "$calls" ||
  fail "the upgrade stops or starts units (above)"
echo "the server went on during the upgrade; rounds of writing and reading: $(tail -n 1 "$work/use.log")"

echo "== remove"
! apt-get -q -y remove xenpv >"$work/refused.log" 2>&1 || fail "xenpv was removed while a disk is attached"
grep 'xenpv cannot be removed while it provides disks.*systemctl stop xenpv-disk@xvdb.service' "$work/refused.log"
[[ -x /usr/bin/xenpv-disk ]] || fail "the refused removal has removed files"
rm "$work/attached"
[[ $(nbdinfo --size "$uri") == 67108864 ]] || fail "the server no longer answers"
install "$work/next/xenpv-sim.deb"  # has been removed before xenpv was refused
kill "$server"
wait_for "the server stops" test ! -d "/proc/$server"
xenpv-sim stop --dir "$work/host"

echo "== purge"
apt-get -q -y --purge autoremove "${names[@]}"
rm -r /run/systemd /usr/bin/systemctl
snapshot "$work/after"
# The user stays, as in all Debian packages: another user must not get its ID.
without_users() {
  grep -vE '/etc/(g?(passwd|group|shadow)-?|\.pwd\.lock)( |$)' "$1"
}
diff <(without_users "$work/before") <(without_users "$work/after") || fail "the purge has left files behind (above)"
rm -r "$work"
echo "installed, upgraded and purged; nothing is left"
