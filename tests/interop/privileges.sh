#!/usr/bin/env bash
# privileges.sh XENPV_SIM XENPV_DISK XENPV_DISK_MISBEHAVING: tests that a running server has no privileges and works
# without them: clients, TLS, commands, recovery, crash and restart. The third program is a test build that simulates
# an attacker with code execution.
source "$(dirname "$0")/check.sh"
disk=$2
misbehaving=$3
here=$(dirname "$0")
requires python3 nbdinfo nbdcopy setpriv
[ "$(id -u)" = 0 ] || { echo "skipped: only root can change the user"; exit 77; }
is_sanitized "$disk" && { echo "skipped: a sanitizer build is not confined"; exit 77; }
user=nobody
uid=$(id -u $user) gid=$(id -g $user)
# The host's directory must be accessible to the user.
chmod 711 "$dir"
"$sim" start --dir "$host" --allow-user $user --disk xvdb,memory=64M,queues=2 --disk xvdc,memory=16M
source "$here/serve.sh"
sock="$dir/nbd.sock"
# The GnuTLS and OpenSSL forms of the key are its bytes.
key=00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210
mkdir "$dir/keys"
echo "alice:$key" >"$dir/keys/keys.psk"
chmod 600 "$dir/keys/keys.psk"
uri="nbds+unix://alice@/xvdb?socket=$sock&tls-psk-file=$dir/keys/keys.psk"

# serve_tls ARGUMENT...: like serve, for keys, which nbd-client does not support
serve_tls() {
  : >"$dir/out"
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve "$@" >"$dir/out" 2>"$dir/log" &
  server=$!
  wait_for "$* is served" grep -q '^nbds' "$dir/out"
}

# ids FIELD: the values of a field of /proc/PID/status in all threads of the server, without repetitions
ids() { sed -n "s/^$1:[[:space:]]*//p" /proc/"$server"/task/*/status | sort -u; }
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
# child_called NAME: the process of this server with this name
child_called() { ps -eo pid=,ppid=,comm= | awk -v parent="$server" -v name="$1" '$2 == parent && $3 == name { print $1 }'; }
nothing_denied() { expect "no system call was denied: $1" "" "$(grep 'system call' "$dir/log" || true)"; }
unprivileged() {
  for set in CapPrm CapEff CapInh CapAmb; do
    expect "$1 has no capabilities ($set)" 0000000000000000 "$(field "$2" $set)"
  done
  expect "$1 cannot gain privileges" 1 "$(field "$2" NoNewPrivs)"
}

serve_tls xvdb --user $user --unix "$sock" --tls-psk "$dir/keys/keys.psk" --pid-file "$dir/pid"
for set in CapPrm CapEff CapInh CapAmb CapBnd; do
  expect "no thread of the server has capabilities ($set)" 0000000000000000 "$(ids $set)"
done
expect "all threads have the user" "$uid	$uid	$uid	$uid" "$(ids Uid)"
expect "all threads have the group" "$gid	$gid	$gid	$gid" "$(ids Gid)"
expect "no thread can gain privileges" 1 "$(ids NoNewPrivs)"
expect "the system calls of all threads are filtered" 2 "$(ids Seccomp)"
custodian=$(child_called xenpv-custodian)
unprivileged "the custodian" "$custodian"
expect "the custodian's system calls are filtered" 2 "$(field "$custodian" Seccomp)"
helper=$(child_called xenpv-helper)
# CAP_DAC_OVERRIDE, CAP_IPC_LOCK and CAP_SYS_RESOURCE, or fewer if this machine does not grant them
expect "the helper has few capabilities" 0 "$((0x$(field "$helper" CapPrm) & ~0x1004002))"

# memory_of PID: prints how often the key occurs in the process's memory, in binary or as text
text=$(printf %s "$key" | od -An -v -tx1 | tr -d ' \n')
memory_of() { python3 "$here/memory_scan.py" "$1" "$key" "$text" | awk '{ print $1 + $2 }'; }
expect "the key is in the server's memory" yes "$([ "$(memory_of "$server")" -gt 0 ] && echo yes)"
expect "the key is not in the custodian's memory" 0 "$(memory_of "$custodian")"
expect "the key is not in the helper's memory" 0 "$(memory_of "$helper")"

expect_line "the keys cannot be read again, which is reported at the start" \
  "a reload cannot read $dir/keys/keys.psk as user $user \\(.*chmod 640 $dir/keys/keys.psk\\)" "$(<"$dir/log")"

# Clients and commands.
expect_line "a client over TLS" 'export-size: 67108864' "$(nbdinfo "$uri")"
head -c 8M /dev/urandom >"$dir/data"
nbdcopy "$dir/data" "$uri"
nbdcopy "$uri" "$dir/back"
expect "data" "" "$(cmp -n 8388608 "$dir/data" "$dir/back" 2>&1)"
expect_line "status" xvdb "$(in_guest "$disk" status)"
expect_line "list" xvdb "$(in_guest "$disk" list)"
in_guest "$disk" status --json xvdb >/dev/null
expect_line "metrics" '^xenpv_disk' "$(in_guest "$disk" status --prometheus)"

# Reload: the user must be able to read the files.
expect "a reload fails if the user cannot read the keys" 1 "$(status_of in_guest "$disk" reload xvdb)"
wait_for "the reason is logged" grep -q "read $dir/keys/keys.psk: permission denied" "$dir/log"
expect_line "the old keys stay valid" 'export-size' "$(nbdinfo "$uri")"
chgrp "$gid" "$dir/keys/keys.psk"
chmod 640 "$dir/keys/keys.psk"
expect "a reload" 0 "$(status_of in_guest "$disk" reload xvdb)"
# An editor replaces a file with another one.
cp "$dir/keys/keys.psk" "$dir/keys/new"
chgrp "$gid" "$dir/keys/new"
chmod 640 "$dir/keys/new"
mv "$dir/keys/new" "$dir/keys/keys.psk"
kill -HUP "$server"
wait_for "SIGHUP reloads" grep -Eq 'reload' "$dir/log"
expect_line "a client after a reload" 'export-size' "$(nbdinfo "$uri")"

# The helper starts another custodian, because the server cannot execute programs.
kill -KILL "$custodian"
wait_for "a replacement is started" grep -q 'is the new custodian' "$dir/log"
custodian=$(grep -Eo 'process [0-9]+ is the new custodian' "$dir/log" | awk '{ print $2 }')
unprivileged "the replacement" "$custodian"
expect "the key is not in the replacement's memory" 0 "$(memory_of "$custodian")"

# Recovery: the backend restarts, and the guest is saved and restored. The server reopens event channels and grants.
"$sim" disk restart --dir "$host" --domain 1 xvdb
expect_line "a client after the restart of the backend" 'export-size' "$(timeout 60 nbdinfo "$uri")"
nothing_denied "clients, commands, reload, restart of the backend"
timeout 60 nbdcopy "$uri" "$dir/back"
expect "data after the restart" "" "$(cmp -n 8388608 "$dir/data" "$dir/back" 2>&1)"

# A stop removes the files that only root may remove.
kill -TERM "$server"
expect_end "the server stops" 0
expect "its files are removed" "" "$(ls "$sock" "$dir/pid" "$root"/run/xenpv/*.control "$root"/run/xenpv/*.sock 2>/dev/null || true)"
nothing_denied "stop"
wait_for "its helper ends" test ! -e "/proc/$helper"

# A crash: the custodian closes the disk, and the next server starts.
serve xvdb --user $user --unix "$sock"
kill -KILL "$server"
wait "$server" 2>/dev/null || true
serve xvdb --user $user --unix "$sock" --tcp 127.0.0.1:0
expect_line "a client after a crash" 'export-size' "$(nbdinfo "nbd+unix:///xvdb?socket=$sock")"
tcp=$(grep '^nbd://' "$dir/out")
nbdcopy "$tcp" "$dir/back"
expect "data over TCP" "" "$(cmp -n 8388608 "$dir/data" "$dir/back" 2>&1)"
# While a client does not read, the server checks the queue of its socket every two seconds.
nbdcopy "$tcp" - | { sleep 3; cat; } >"$dir/back"
expect "data of a slow client" "" "$(cmp -n 8388608 "$dir/data" "$dir/back" 2>&1)"
kill -TERM "$server"
expect_end "the second server stops" 0
nothing_denied "crash"

# Certificates of a client such as certbot: links to another directory, in which a renewal creates new files.
if command -v openssl >/dev/null; then
  mkdir "$dir/live" "$dir/archive"
  renew() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
      -keyout "$dir/archive/key$1.pem" -out "$dir/archive/cert$1.pem" 2>/dev/null
    chgrp "$gid" "$dir/archive/key$1.pem"
    chmod 640 "$dir/archive/key$1.pem"
    for file in key cert; do ln -sfn "../archive/$file$1.pem" "$dir/live/server-$file.pem"; done
  }
  renew 1
  serve_tls xvdb --user $user --unix "$sock" --tls-certificates "$dir/live"
  expect "nothing is reported about readable certificates" "" "$(grep 'a reload cannot read' "$dir/log" || true)"
  renew 2
  expect "a reload of renewed certificates behind links" 0 "$(status_of in_guest "$disk" reload xvdb)"
  kill -TERM "$server"
  expect_end "the server with certificates stops" 0
  nothing_denied "renewed certificates"
  chmod 700 "$dir/archive"
  serve_tls xvdb --user $user --unix "$sock" --tls-certificates "$dir/live"
  expect_line "a directory that the user cannot search is reported" \
    "a reload cannot read $dir/archive/key2.pem as user $user \\(.*chmod g\\+x $dir/archive\\)" "$(<"$dir/log")"
  kill -TERM "$server"
  expect_end "the server with hidden certificates stops" 0
fi

# With --user root, the server keeps its user ID, but no capabilities.
serve xvdb --user root --unix "$sock"
expect "root's user" "0	0	0	0" "$(ids Uid)"
expect "root has no capabilities" 0000000000000000 "$(ids CapEff)"
expect_line "a client of root's server" 'export-size' "$(nbdinfo "nbd+unix:///xvdb?socket=$sock")"
kill -TERM "$server"
expect_end "root's server stops" 0
nothing_denied "root"

expect_line "an unknown user is refused" "run as user 'nonesuch'.*no such user" \
  "$(in_guest "$disk" serve xvdb --user nonesuch --unix "$sock" 2>&1 || true)"

# An attacker with code execution in a server.
serve xvdc --unix "$dir/other.sock"
other=$server
good_disk=$disk
disk=$misbehaving
cp "$dir/keys/keys.psk" "$dir/keys/root.psk"
chmod 600 "$dir/keys/root.psk"
chown root:root "$dir/keys/root.psk"
echo secret >"$dir/world-readable"
chmod 644 "$dir/world-readable"
serve_tls xvdb --user $user --unix "$sock" --tls-psk "$dir/keys/root.psk"
helper=$(child_called xenpv-helper)
deed() {
  python3 - "$root/run/xenpv/xvdb.control" "$@" <<'PYTHON'
import errno, json, socket, sys
path, deed, *rest = sys.argv[1:]
request = {"command": "misbehave", "deed": deed}
if rest:
    request["process" if rest[0].isdigit() else "path"] = int(rest[0]) if rest[0].isdigit() else rest[0]
with socket.socket(socket.AF_UNIX) as client:
    client.connect(path)
    client.sendall(json.dumps(request).encode() + b"\n")
    number = json.loads(client.makefile().read())["errno"]
print(errno.errorcode.get(number, "done"))
PYTHON
}
denied() {
  local what=$1
  shift
  expect_line "an attacker cannot: $what" '^(EACCES|EPERM)$' "$(deed "$@")"
}
denied "read the keys" read "$dir/keys/root.psk"
denied "read a file that all may read" read "$dir/world-readable"
denied "read /etc/passwd" read /etc/passwd
denied "write a file" write "$dir/new"
denied "write in a directory of all users" write /tmp/xenpv-misbehaves
denied "remove its own socket" remove "$sock"
denied "connect to another disk's socket" connect "$dir/other.sock"
denied "control another disk" connect "$root/run/xenpv/xvdc.control"
denied "execute a program" execute /bin/true
denied "kill the other server" kill "$other"
# A process of the same user, like another server.
setpriv --reuid "$uid" --regid "$gid" --clear-groups sleep 600 &
victim=$!
denied "kill a process of its user" kill "$victim"
denied "let the kernel kill a process of its user" "kill by input" "$victim"
denied "slow a process of its user down" "set priority" "$victim"
denied "move a process of its user" move "$victim"
expect "the process still runs" 0 "$(status_of kill -0 "$victim")"
kill "$victim"
denied "trace its helper" trace "$helper"
denied "read its helper's memory" "read memory" "$helper"
denied "read its helper's memory by a file" read "/proc/$helper/mem"
denied "become root" "become root"
denied "use the network" "use the network"
denied "make memory executable" "map executable memory"
denied "fork" fork
denied "mount" mount
wait_for "a denied call is logged" grep -q 'sandbox: denied the system call execve ' "$dir/log"
expect_line "the server still serves" xvdb "$(in_guest "$good_disk" status xvdb)"
kill -TERM "$server"
expect_end "the misbehaving server stops" 0
# The same deeds are done by a server that is not confined.
serve xvdb --user root --sandbox off --unix "$sock"
expect "without a sandbox, files can be read" done "$(deed read /etc/passwd)"
expect "without a sandbox, sockets can be used" done "$(deed connect "$dir/other.sock")"
kill -TERM "$server"
expect_end "the unconfined server stops" 0
kill -TERM "$other"
wait "$other" || true
disk=$good_disk

# A resume: the server reopens event channels, grants and xenstore without privileges. The kept handles survive the
# death of the custodian.
serve xvdb --user $user --unix "$sock"
custodian=$(child_called xenpv-custodian)
nbdcopy "$dir/data" "nbd+unix:///xvdb?socket=$sock"
"$sim" domain save-restore --dir "$host" 1 --frozen 50ms >/dev/null
timeout 60 nbdcopy "nbd+unix:///xvdb?socket=$sock" "$dir/back"
expect "data after a resume" "" "$(cmp -n 8388608 "$dir/data" "$dir/back" 2>&1)"
expect_line "the server has noticed" 'the guest was saved and restored' "$(<"$dir/log")"
kill -KILL "$custodian"
wait_for "the custodian is replaced after a resume" grep -q 'is the new custodian' "$dir/log"
kill -TERM "$server"
expect_end "the server stops after a resume" 0
expect "no kernel BUG" '"kernel_bugs":[]' \
  "$("$sim" status --dir "$host" | tr -d '\n ' | grep -Eo '"kernel_bugs":\[[^]]*\]')"
nothing_denied "resume"
passed
