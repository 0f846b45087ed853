# The server of a mounted file system is killed and replaced (attach --keep): the kernel device
# remains, its users wait and continue, and no write is lost or replayed in the wrong order.
programs=(xenpv-disk xenpv-custodian)
short_places='pv'
limit=300
memory=512

[[ -z ${XENPV_INSIDE:-} ]] || source "$XENPV_INSIDE/recovery.sh"

dom0_before() {
  file_disk /dev/loop0 /tmp/xvdb.img 128M
  disk xvdb /dev/loop0 w
}

toolstack() {
  case $1 in
    sum) sum "$2" "$3" ;;
    *) return 2 ;;
  esac
}

dom0_during() { answer toolstack; }

now() { echo $((${EPOCHREALTIME/./} / 1000)); }

# start_server NAME [OPTION...]: starts a server; sets `server`.
start_server() {
  local name=$1
  shift
  xenpv-disk attach xvdb --keep "$@" >"$results/$name.out" 2>"$results/$name.log" &
  server=$!
  check "$name.ready" awaits 60 grep -q '^/dev/nbd0$' "$results/$name.out"
}

# goes_on_working NAME SINCE: waits until I/O continues and records the pause's length.
goes_on_working() {
  local before
  before=$(moved)
  check "$1.goes_on" awaits 60 has_moved_more "$before"
  echo "$1 $(($(now) - $2))" >>"$results/pauses"
}

# replaced NAME SIGNAL PAUSE: ends the server under load and starts another one after PAUSE seconds.
replaced() {
  local since status=0
  sleep 3
  since=$(now)
  kill "-$2" "$server"
  wait "$server" || status=$?
  value "$1.status" "$status"
  sleep "$3"
  start_server "$1"
  goes_on_working "$1" "$since"
}

# Checks that no other server can write to the disk while its file system is mounted.
guarded() {
  local status=0
  kill -KILL "$server"
  wait "$server"
  xenpv-disk serve xvdb >"$results/guarded.log" 2>&1 || status=$?
  value guarded.serve "$status"
  check guarded.message grep -q 'behind; take it over with xenpv-disk attach --keep xvdb' "$results/guarded.log"
  start_server guarded
}

main() {
  local number seen
  modprobe nbd
  start_server first --take
  check mkfs mkfs.ext4 -q -F /dev/nbd0
  mount_disk /dev/nbd0
  start_load
  for number in 1 2 3; do replaced "killed-$number" KILL 0; done
  replaced away KILL 8
  for number in 1 2; do replaced "upgraded-$number" TERM 0; done
  guarded
  end_load
  tell_pauses
  files_are_whole /dev/nbd0
  seen=$(sum /dev/nbd0 128)
  check detach xenpv-disk detach xvdb
  check last.end wait "$server"
  same sum "$seen" "$(ask sum /dev/loop0 128)"
  check last.forgotten test ! -e /run/xenpv/xvdb.kept
  tell_complaints
  ask over
}
