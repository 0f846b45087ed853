# Functions for scenarios. Sourced before scenario.sh wherever a function of the scenario runs. A
# report is a line "VERDICT NAME TEXT"; names must not contain spaces.

results=$XENPV_RESULTS
place=$XENPV_PLACE
# Debian's directory for Xen programs and libraries.
xen_directory=$(echo /usr/lib/xen-[0-9]*)

report() {
  local verdict=$1 name=$2
  shift 2
  printf '%s %s %s\n' "$verdict" "${name// /_}" "$*" >>"$results/cases"
  printf '%s %s s: %s %s %s\n' "$place" "$SECONDS" "$verdict" "$name" "$*"
}

pass() { report pass "$@"; }              # pass NAME [TEXT]
skip() { report skip "$@"; }              # skip NAME REASON
fail() { report fail "$@"; }              # fail NAME REASON
value() { report value "$@"; }            # value NAME TEXT: compared with the expectations

# check NAME COMMAND...: passes if the command succeeds; the output is in NAME.log.
check() {
  local name=$1 status=0
  shift
  "$@" >"$results/$name.log" 2>&1 || status=$?
  if [[ $status -eq 0 ]]; then
    pass "$name"
  else
    fail "$name" "exit status $status: $(tail -n 1 "$results/$name.log")"
    return 1
  fi
}

# status_of COMMAND...: prints the exit status; the output is in status.log.
status_of() {
  local status=0
  "$@" >"$results/status.log" 2>&1 || status=$?
  cat "$results/status.log" >&2
  echo "$status"
}

# says NAME PATTERN: checks that the output of the last status_of matches PATTERN.
says() {
  check "$1" grep -Eq -- "$2" "$results/status.log"
}

# partition DEVICE: creates one primary partition of 16 MiB at offset 1 MiB. The other entries of the
# partition table must be empty.
partition() {
  printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x80\0\0' | dd of="$1" bs=1 seek=446 conv=notrunc status=none
  printf '\x55\xaa' | dd of="$1" bs=1 seek=510 conv=notrunc status=none
}

# same NAME ONE OTHER: passes if both texts are equal and not empty.
same() {
  if [[ $2 == "$3" && -n $2 ]]; then pass "$1"; else fail "$1" "'$2' differs from '$3'"; fi
}

# awaits SECONDS COMMAND...: waits until the command succeeds.
awaits() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $end ]] || return 1
    sleep 0.2
  done
}

# gtest PROGRAM [ARGUMENT...]: runs a GoogleTest program. Reports each case when the case ends or
# the program crashes, and the number of cases as the value PROGRAM.cases.
gtest() {
  local log=$results/${1##*/}.log pid status=0
  "$@" >"$log" 2>&1 &
  pid=$!
  # The failure message is between the lines RUN and FAILED; report only its beginning.
  tail -q -n +1 -f --pid="$pid" "$log" | awk '
    /^\[ RUN      \] / { name = $4; text = ""; next }
    /^\[       OK \] / && name { print "pass", $4; name = ""; fflush(); next }
    /^\[  SKIPPED \] / && name { print "skip", name, text; name = ""; next }
    /^\[  FAILED  \] / && name { print "fail", name, text; name = ""; fflush(); next }
    name && NF && !/Skipped$/ && length(text) < 300 { sub(/^.*\/tests\//, ""); text = text (text ? " " : "") $0 }
    END { if (name) print "fail", name, "the program ended here " text }
  ' | while read -r verdict name text; do report "$verdict" "$name" "$text"; done
  wait "$pid" || status=$?
  value "${1##*/}.cases" "$(grep -c '^\[ RUN ' "$log")"
  # The failed cases explain exit status 1.
  [[ $status -eq 0 ]] || { [[ $status -eq 1 ]] && grep -q '^\[  FAILED  \]' "$log"; } ||
    fail "${1##*/}" "exit status $status: $(tail -n 1 "$log")"
}

# complaints PATTERN: prints the number of kernel messages that match PATTERN. In domain 0, which runs
# several scenarios and places, ignores those from before the current place.
complaints() { dmesg | awk -v pattern="$1" '/real-xen: begin / { n = 0 } $0 ~ pattern { n++ } END { print n + 0 }'; }

# tell KEY VALUE, hear KEY: pass messages between a guest and dom0_during, through the guest's data/
# directory in xenstore. hear waits for the message, up to the scenario's limit. In domain 0,
# `guest` must be set to the guest's domain ID.
message_path() {
  if [[ $place == dom0 || -z ${guest:-} ]]; then
    echo "data/real-xen/$1"
  else
    echo "/local/domain/$guest/data/real-xen/$1"
  fi
}

tell() { xenstore-write "$(message_path "$1")" "$2"; }

hear() {
  local path
  path=$(message_path "$1")
  until xenstore-read "$path" 2>/dev/null; do sleep 0.2; done
}

# ask WORDS...: makes `answer FUNCTION` in dom0_during call FUNCTION WORDS..., prints the output and
# returns the exit status of the call. "ask over" ends answer.
ask() {
  local number reply
  number=$(($(cat /tmp/asked 2>/dev/null || echo 0) + 1))
  echo "$number" >/tmp/asked
  tell "ask-$number" "$*"
  [[ $1 != over ]] || return 0
  reply=$(hear "answer-$number")
  printf '%s\n' "${reply#* }"
  return "${reply%% *}"
}

answer() {
  local number words reply status
  for ((number = 1; ; number++)); do
    words=$(hear "ask-$number")
    [[ $words != over ]] || return 0
    echo "+ $words"
    status=0
    # shellcheck disable=SC2086  # split into words
    reply=$("$1" $words) || status=$?
    echo "$reply"
    tell "answer-$number" "$status $reply"
  done
}

# take_disk VDEV: unbinds a disk from the kernel driver and prints the disk's xenstore path. The
# kernel leaves the disk in state Closed, with all its nodes.
take_disk() {
  local letter number
  printf -v letter '%d' "'${1:3:1}"
  number=$((51712 + (letter - 97) * 16))
  if [[ -e /sys/bus/xen/drivers/vbd/vbd-$number ]]; then
    echo "vbd-$number" >/sys/bus/xen/drivers/vbd/unbind
  fi
  echo "device/vbd/$number"
}
