# Under load, domain 0 closes the backend's connection, unbinds and rebinds its driver, and detaches
# and attaches the disk. A mounted file system sees pauses; clients of a detached disk get errors
# immediately.
programs=(xenpv-disk xenpv-custodian)
short_places=none
limit=300
memory=512

# A frontend cannot distinguish an unbound backend from a backend whose domain lost power. Here,
# domain 0 keeps running, so the cache is not lost.
serve_options=--trust-backend-cache

[[ -z ${XENPV_INSIDE:-} ]] || source "$XENPV_INSIDE/recovery.sh"

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  disk xvdb /dev/loop0 w
  disk xvdc /dev/ram1 w
}

vbd() { echo "/sys/bus/xen-backend/drivers/vbd/$1"; }

toolstack() {
  local node=/local/domain/0/backend/vbd/$guest/51728
  case $1 in
    close) xenstore-write "$node/state" 5 ;;
    rebind)
      echo "vbd-$guest-51728" >"$(vbd unbind)" || return
      sleep 2
      echo "vbd-$guest-51728" >"$(vbd bind)"
      ;;
    detach)
      local start=${EPOCHREALTIME/./}
      xl block-detach ${2:+"$2"} "$guest" xvdc >&2 || return
      echo $(((${EPOCHREALTIME/./} - start) / 1000))
      ;;
    attach) xl block-attach "$guest" "format=raw,vdev=xvdc,access=w,script=$XENPV_INSIDE/block,target=/dev/ram1" >&2 ;;
    sum) sum "$2" "$3" ;;
    complaints) complaints 'BUG|WARNING|Oops' ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

closed() {
  local number
  for number in 1 2 3; do
    ask close
    goes_on "closed-$number" "$number"
  done
  for number in 4 5; do
    check "rebound-$number.dom0" ask rebind
    goes_on "rebound-$number" "$number"
  done
}

has_disk() { [[ $(xenstore-read device/vbd/51744/state 2>/dev/null) == "$1" ]]; }

# serve_again NAME: serves xvdc; sets `other`.
serve_again() {
  rm -f /tmp/c.sock
  xenpv-disk serve xvdc --take --unix /tmp/c.sock >"$results/$1.out" 2>"$results/$1.log" &
  other=$!
  check "$1.ready" awaits 30 grep -q nbd+unix "$results/$1.out"
}

start_client() { # NAME
  fio --name="$1" --ioengine=nbd --uri='nbd+unix:///xvdc?socket=/tmp/c.sock' --rw=randrw --bs=16k --size=64M \
    --iodepth=16 --time_based --runtime=200 >"$results/$1.fio" 2>&1 &
  client=$!
}

# Only one server is running at this time.
has_client() { xenpv-disk status --json | grep -q '"peer"'; }

# taken_away NAME [OPTION]: runs xl block-detach OPTION under load.
taken_away() {
  local time status=0
  start_client "$1"
  check "$1.connected" awaits 60 has_client
  sleep 1
  time=$(ask detach ${2:+"$2"})
  value "$1.detach" "$time"
  wait "$client" || status=$?
  value "$1.client" "$status"
  check "$1.message" grep -Eq 'shutdown|Input/output error' "$results/$1.fio"
  status=0
  wait "$other" || status=$?
  value "$1.server" "$status"
  check "$1.reason" grep -Eq 'the toolstack (forcibly )?detached the disk' "$results/$1.log"
}

unplugged() {
  serve_again plain
  taken_away plain
  check plain.attach ask attach
  check plain.attached awaits 20 has_disk 4
  serve_again forced
  taken_away forced --force
  check forced.attach ask attach
  check forced.attached awaits 20 has_disk 4
  serve_again last
  kill -TERM "$other"
  check last.end wait "$other"
}

main() {
  local seen
  serve_and_mount
  start_load
  closed
  end_load
  tell_pauses
  value replayed "$(recovery_figure replayed_requests)"
  files_are_whole /dev/nbd0
  seen=$(sum /dev/nbd0 128)
  stop_server
  same sum "$seen" "$(ask sum /dev/loop0 128)"
  unplugged
  tell_complaints
  value dom0_complaints "$(ask complaints)"
  ask over
}
