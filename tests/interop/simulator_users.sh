#!/usr/bin/env bash
# simulator_users.sh XENPV_SIM: tests that other users cannot join a simulated host, even if its owner
# has no umask, and that --allow-user admits one.
. "$(dirname "$0")/check.sh"
requires setpriv python3 xenstore-read
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }

# The other user may not be able to reach the build directory.
chmod 755 "$dir"
programs="$dir/programs"
mkdir -m 755 "$programs"
install -m 755 "$sim" "$programs/xenpv-sim"
install -m 755 "$(dirname "$sim")/libxensim.so" "$programs/libxensim.so"
export TMPDIR=$dir
other_sim="$programs/xenpv-sim"
cd /

# The caller's PATH may start with directories that other users cannot search.
system_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
as() { # as USER CMD...
  local user=$1
  shift
  PATH=$system_path setpriv --reuid "$user" --regid nogroup --clear-groups "$@"
}
as_other() { as nobody "$@"; }
# Connects to a Unix socket and prints what happens: the reason, closed, or connected.
connect_as() { # connect_as USER TYPE PATH
  as "$1" python3 -c '
import socket, sys
peer = socket.socket(socket.AF_UNIX, getattr(socket, "SOCK_" + sys.argv[1]))
peer.settimeout(10)
try:
    peer.connect(sys.argv[2])
    if sys.argv[1] == "STREAM" and sys.argv[2].endswith("/admin"):
        peer.sendall(b"{\"command\": \"status\"}\n")
    elif sys.argv[1] == "STREAM":
        peer.sendall((2).to_bytes(4, "little") + bytes(8) + (6).to_bytes(4, "little") + b"domid\0")
    else:
        peer.send(bytes(32))
    print("connected" if peer.recv(16) else "closed")
except PermissionError:
    print("permission denied")
except ConnectionError:
    print("closed")' "$2" "$3"
}
sockets=("STREAM $host/admin" "STREAM $host/dom0/xenstored" "STREAM $host/dom1/xenstored"
  "SEQPACKET $host/dom0/control" "SEQPACKET $host/dom1/control")

# File permissions.
(umask 0; exec "$sim" start --dir "$host")
expect "only the owner has access to the host's directory" 700 "$(stat -c %a "$host")"
for domain in dom0 dom1; do
  expect "only the owner has access to $domain" 700 "$(stat -c %a "$host/$domain")"
done
for entry in "${sockets[@]}"; do
  expect "only the owner has access to ${entry#* }" 600 "$(stat -c %a "${entry#* }")"
  # shellcheck disable=SC2086  # type and path
  expect "another user cannot connect to ${entry#* }" "permission denied" "$(connect_as nobody $entry)"
  # shellcheck disable=SC2086
  expect "the owner can connect to ${entry#* }" connected "$(connect_as root $entry)"
done
for arguments in "exec --dir $host -- id" "status --dir $host" "stop --dir $host"; do
  # shellcheck disable=SC2086
  expect_line "another user cannot run $arguments" \
    "^xenpv-sim: simulated host in $host: permission denied \(only its owner and root may use it\)\$" \
    "$(as_other "$other_sim" $arguments 2>&1 || true)"
done

# Peer credentials, in case that the permissions are changed.
chmod 755 "$host" "$host"/dom?
for entry in "${sockets[@]}"; do
  chmod 666 "${entry#* }"
  # shellcheck disable=SC2086
  expect "another user is refused by ${entry#* }" closed "$(connect_as nobody $entry)"
  # shellcheck disable=SC2086
  expect "the owner is not refused by ${entry#* }" connected "$(connect_as root $entry)"
done
expect "each refusal is logged" 5 "$(grep -c "refused process .* of user $(id -u nobody): the host belongs to user 0" \
  "$host/host.log")"
expect "the host is still running" 0 "$(status_of "$sim" status --dir "$host")"
"$sim" stop --dir "$host"

# The directory that `run` creates.
expect "only the owner has access to a temporary host" "700" \
  "$(umask 0; "$sim" run -- sh -c 'stat -c %a "$XENPV_SIM_DIR/.."')"
joins='
import os
os.close(os.open("/dev/xen/evtchn", os.O_RDWR))'
join_as() { # join_as USER OPTION...: joins domain 1 as USER
  local user=$1
  shift
  PATH=$system_path LD_LIBRARY_PATH='' "$other_sim" run "$@" -- setpriv --reuid "$user" --regid nogroup --clear-groups \
    sh -c 'xenstore-read domid && python3 -c "$0" && cat "$XENPV_ROOT/sys/hypervisor/type" && stat -c "%A" /dev/xen/evtchn' "$joins" \
      2>"$dir/problem"
}
expect "devices are the owner's" "crw-------" "$("$sim" run -- stat -c %A /dev/xen/evtchn)"
expect "another user cannot join" 1 "$(status_of join_as nobody)"
expect "--allow-user admits it, whatever the umask" $'1\nxen\ncrw-rw-rw-' "$(umask 077; join_as nobody --allow-user nobody)"
expect "--allow-user admits no other" 1 "$(status_of join_as daemon --allow-user nobody)"
expect_line "--allow-user refuses an unknown user" "user 'no-such-user': invalid argument \(no such user\)" \
  "$("$sim" run --allow-user no-such-user -- true 2>&1 || true)"
"$sim" start --dir "$host" --allow-user nobody
expect "the additional user cannot control the host" "permission denied" \
  "$(connect_as nobody STREAM "$host/admin")"
expect "it can join" connected "$(connect_as nobody STREAM "$host/dom1/xenstored")"
expect "others are refused" closed "$(connect_as daemon STREAM "$host/dom1/xenstored")"
"$sim" stop --dir "$host"
passed
