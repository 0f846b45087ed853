# The installed units run under systemd: a disk is mounted from /etc/fstab through
# xenpv-disk@.service, and another one is served by the socket-activated xenpv-serve@.service. The guest
# boots twice: the first boot examines and disturbs the servers, is saved and restored, and ends with a
# reboot; the second ends with `poweroff` (in PV). Domain 0 checks the file system after each.
programs=(xenpv-disk xenpv-custodian)
installs=yes
init=systemd
places='pv pvh'
short_places=none
limit=400
memory=768
kernel_parameters=systemd.show_status=1

disk_unit=xenpv-disk@xvdb.service
serve_unit=xenpv-serve@xvdc.service
socket_unit=xenpv-serve@xvdc.socket
socket=/run/xenpv/xvdc.sock
uri="nbd+unix:///xvdc?socket=$socket"
dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  mkfs.ext4 -q -L data /dev/loop0
  dd if=/dev/urandom of=/dev/ram2 bs=1M count=32 oflag=direct status=none
  disk xvdb /dev/loop0 w
  disk xvdc /dev/ram2 w
}

is_second_boot() { [[ -e $results/first.journal ]]; }

# Runs in the guest before systemd starts.
provision() {
  # In the second boot, the device nodes exist before udev starts, as after an initramfs.
  if is_second_boot; then modprobe -a nbd xen-evtchn xen-gntalloc xen-gntdev; fi
  systemctl enable $disk_unit $socket_unit
  mkdir -p /data
  echo "LABEL=data /data ext4 x-systemd.after=$disk_unit 0 2" >/etc/fstab
  echo 'XENPV_SERVE_OPTIONS=--take' >/etc/default/xenpv-serve-xvdc
  # Shorter than the test, so that the test detects a missing watchdog notification.
  mkdir -p "/etc/systemd/system/$disk_unit.d" "/etc/systemd/system/$serve_unit.d"
  printf '[Service]\nWatchdogSec=5\n' | tee "/etc/systemd/system/$disk_unit.d/watchdog.conf" \
    >"/etc/systemd/system/$serve_unit.d/watchdog.conf"
}

is_gone() { ! xl domid "$place" >/dev/null 2>&1; }

# ended NAME: waits until the guest has ended, reports the time since the request, and checks the disk.
ended() {
  local since=$SECONDS
  check "$1.ends" awaits 120 is_gone
  value "$1.seconds" "$((SECONDS - since))"
  # -n: reports a file system that was not unmounted, but does not repair it.
  check "$1.fsck" e2fsck -fn /dev/loop0
  check "$1.clean" grep -q 'Filesystem state: *clean$' <(dumpe2fs -h /dev/loop0 2>/dev/null)
  check "$1.journal_empty" bash -c '! dumpe2fs -h /dev/loop0 2>/dev/null | grep -q needs_recovery'
  check "$1.order" stopped_in_order
}

# stopped_in_order: true if systemd unmounted the file system before it stopped the disk.
stopped_in_order() {
  awk '/Unmounted.*data/ { unmounted = NR } /Stopped.*PV disk xvdb/ { stopped = NR }
    END { exit !(unmounted && unmounted < stopped) }' "/var/log/xen/console/guest-$place.log"
}

save_and_restore() {
  xl save "$place" /tmp/saved && xl restore /tmp/saved || return 1
  rm -f /tmp/saved
}

dom0_during() {
  toolstack() {
    case $1 in
      sum) dd if="$2" bs=1M count="$3" iflag=direct status=none | md5sum ;;
      *) return 2 ;;
    esac
  }
  answer toolstack
  hear ready
  check save save_and_restore
  guest=$(xl domid "$place")
  tell restored yes
  hear ending
  ended first
  check second.create xl create -q "$results/xl.cfg"
  guest=$(xl domid "$place")
  hear ending
  ended second
}

property() { systemctl show --property "$2" --value "$1"; }

user_of() { ps -o user= -p "$(property "$1" MainPID)"; }

# status_field PID FIELD: prints the field of /proc/PID/status.
status_field() { awk -v field="$2:" '$1 == field { print $2 }' "/proc/$1/status"; }

# confined NAME UNIT: reports what a compromised server of the unit could do.
confined() {
  local pid field
  pid=$(property "$2" MainPID)
  for field in CapEff CapPrm CapBnd NoNewPrivs Seccomp; do value "$1.$field" "$(status_field "$pid" $field)"; done
  value "$1.user" "$(user_of "$2")"
  value "$1.exposure" "$(systemd-analyze security --no-pager "$2" | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p')"
  systemd-analyze security --no-pager "$2" >"$results/$1.exposure.log"
}

# fed NAME UNIT: checks that the unit has run for longer than its WatchdogSec= without a
# restart.
fed() {
  value "$1.watchdog" "$(property "$2" WatchdogUSec)"
  check "$1.lives" awaits 20 has_run_longer "$2" 12
  value "$1.restarts" "$(property "$2" NRestarts)"
}

has_run_longer() { # UNIT SECONDS
  local since
  since=$(property "$1" ActiveEnterTimestampMonotonic)
  [[ $(property "$1" ActiveState) == active ]] &&
    awk -v since="$since" -v least="$2" '{ exit !($1 - since / 1e6 > least) }' /proc/uptime
}

is_active() { [[ $(property "$1" ActiveState) == "${2:-active}" ]]; }

restarted() { # UNIT OLD-PID
  local pid
  pid=$(property "$1" MainPID)
  [[ $pid != 0 && $pid != "$2" ]] && is_active "$1"
}

device_owners() { stat -c %G:%a /dev/xen/{evtchn,gntalloc,gntdev,xenbus} | sort -u | paste -s -d ,; }

# mounted_disk: checks the disk that /etc/fstab mounts.
mounted_disk() {
  value first.devices "$(device_owners)"
  check disk.active is_active $disk_unit
  value disk.mount "$(findmnt -n -o SOURCE /data)"
  check disk.write cp -a $xen_directory /data/
  confined disk $disk_unit
  fed disk $disk_unit
}

# served_disk: the disk of the socket.
served_disk() {
  value serve.before "$(property $serve_unit ActiveState)"
  check serve.nbdinfo nbdinfo "$uri"
  value serve.size "$(nbdinfo --size "$uri")"
  check serve.active is_active $serve_unit
  confined serve $serve_unit
  modprobe nbd
  check serve.connect nbd-client -unix $socket /dev/nbd5 -name xvdc
  same serve.sum "$(dd if=/dev/nbd5 bs=1M count=32 iflag=direct status=none | md5sum)" "$(ask sum /dev/ram2 32)"
  check serve.disconnect nbd-client -d /dev/nbd5
  fed serve $serve_unit
  check serve.reload systemctl reload $serve_unit
  check serve.reloaded grep -q reloaded <(journalctl -b -u $serve_unit)
}

# idle: the server is killed while nothing uses the file system, so that systemd could unmount it. It must
# not: umount waits for the next server.
idle() {
  local pid mount
  pid=$(property $disk_unit MainPID)
  mount=$(findmnt -n -o ID /data)
  head -c 1M /dev/urandom >/data/idle
  check idle.kill systemctl kill -s KILL --kill-who=main $disk_unit
  check idle.restarted awaits 30 restarted $disk_unit "$pid"
  same idle.mount "$(findmnt -n -o ID /data)" "$mount"
}

killed() {
  local pid
  pid=$(property $serve_unit MainPID)
  check serve.kill systemctl kill -s KILL --kill-who=main $serve_unit
  check serve.restarted awaits 30 restarted $serve_unit "$pid"
  check serve.again nbdinfo "$uri"
  pid=$(property $disk_unit MainPID)
  check disk.kill systemctl kill -s KILL --kill-who=main $disk_unit
  check disk.works bash -c 'dd if=/dev/urandom of=/data/new bs=1M count=8 conv=fsync status=none'
  check disk.restarted awaits 30 restarted $disk_unit "$pid"
  value disk.mount_after "$(findmnt -n -o SOURCE /data)"
  check disk.compare diff -r --no-dereference $xen_directory "/data/${xen_directory##*/}"
}

reconnects() { xenpv-disk status xvdb --json | jq '.disks[0].recovery.reconnects'; }

has_reconnected() { [[ $(reconnects) -ge 1 ]]; }

# saved: the guest is saved while the file system is mounted.
saved() {
  local pid restarts
  pid=$(property $disk_unit MainPID)
  restarts=$(property $disk_unit NRestarts)
  sync
  tell ready yes
  hear restored >/dev/null
  check save.reconnects awaits 60 has_reconnected
  check save.write dd if=/dev/urandom of=/data/new bs=1M count=8 conv=fsync
  echo 3 >/proc/sys/vm/drop_caches
  check save.compare diff -r --no-dereference $xen_directory "/data/${xen_directory##*/}"
  same save.same_process "$(property $disk_unit MainPID)" "$pid"
  same save.not_restarted "$(property $disk_unit NRestarts)" "$restarts"
}

# keep_log NAME: saves the journal and the current state of the units.
keep_log() {
  journalctl -b --no-pager -o short-monotonic >"$results/$1.journal"
  systemctl --no-pager list-units --all >"$results/$1.units"
  systemctl --no-pager status 'xenpv*' >"$results/$1.status"
}

first_boot() {
  keep_log boot
  # Without the mount, the remaining steps would only waste time.
  check first.mount findmnt -n /data || { tail -n 80 "$results/boot.journal" && return 1; }
  mounted_disk
  served_disk
  idle
  killed
  ask over
  saved
  value first.failed "$(systemctl list-units --failed --no-legend --plain | awk '{ print $1 }' | paste -s -d ,)"
  keep_log first
  tell ending yes
}

second_boot() {
  check second.mount findmnt -n /data || return 1
  value second.devices "$(device_owners)"
  value second.user "$(user_of $disk_unit)"
  check second.compare diff -r --no-dereference $xen_directory "/data/${xen_directory##*/}"
  value second.failed "$(systemctl list-units --failed --no-legend --plain | awk '{ print $1 }' | paste -s -d ,)"
  keep_log second
  # A PVH guest cannot power off.
  [[ $place != pv ]] || echo poweroff >/run/ending
  tell ending yes
}

main() {
  if is_second_boot; then second_boot; else first_boot; fi
}
