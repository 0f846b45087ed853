#!/usr/bin/env bash
# Tests the simulated xenstored with Xen's xenstore-* clients in a guest and in domain 0.
. "$(dirname "$0")/check.sh"
requires xenstore-ls xenstore-read xenstore-write xenstore-rm xenstore-list xenstore-exists \
  xenstore-chmod xenstore-watch

"$sim" start --dir "$host" --disk xvdb,memory=1M 2>/dev/null

expect "ls of a frontend directory, relative to the guest's home" 'backend = "/local/domain/0/backend/vbd/1/51728"
backend-id = "0"
virtual-device = "51728"
device-type = "disk"
trusted = "1"
state = "1"' "$(in_domain 1 xenstore-ls device/vbd/51728)"
expect_line "ls -p shows owner and reader of the frontend directory" '^state = "1" [ .]* \(n1,r0\)$' \
  "$(in_domain 1 xenstore-ls -p device/vbd/51728)"
expect_line "a guest cannot list domain 0's nodes" 'Permission denied' \
  "$(in_domain 1 xenstore-ls /local/domain/0 2>&1 || true)"

in_domain 1 xenstore-write data/a/b 'two words' data/n 7
expect "read of a guest's node" 'two words' "$(in_domain 1 xenstore-read data/a/b)"
expect "domain 0 reads it by its absolute path" 7 "$(in_domain 0 xenstore-read /local/domain/1/data/n)"
expect "list" $'a\nn' "$(in_domain 1 xenstore-list data | sort)"
expect "exists" 0 "$(status_of in_domain 1 xenstore-exists data/a/b)"
in_domain 1 xenstore-rm data/a
expect "rm removes the whole subtree" 1 "$(status_of in_domain 1 xenstore-exists data/a/b)"
expect "a guest may not write elsewhere" 1 "$(status_of in_domain 1 xenstore-write /local/domain/0/data/x 1)"

in_domain 1 xenstore-chmod data/n n1 r0
expect_line "chmod" '^n = "7" [ .]* \(n1,r0\)$' "$(in_domain 1 xenstore-ls -p data)"
expect "chmod of another domain's node is refused" 1 "$(status_of in_domain 1 xenstore-chmod /local/domain/0 n1)"

# xenstore-watch prints one line on registration, and one line for each change below the path.
mkfifo "$dir/events"
in_domain 1 xenstore-watch -n 3 data/watched >"$dir/events" &
exec 3<"$dir/events"
read -r -t 20 first <&3
in_domain 1 xenstore-write data/watched/x 1
read -r -t 20 second <&3
in_domain 0 xenstore-rm /local/domain/1/data/watched
read -r -t 20 third <&3
wait
expect "watch fires at registration" data/watched "$first"
expect "watch fires for a child, with a relative path" data/watched/x "$second"
expect "watch fires for a change by domain 0" data/watched "$third"

in_domain 0 xenstore-watch -n 2 @introduceDomain >"$dir/events" &
exec 4<"$dir/events"
read -r -t 20 first <&4
created=$("$sim" domain create --dir "$host")
read -r -t 20 second <&4
wait
expect "the ID of the new domain" 2 "$created"
expect "domain 0 sees the introduction of a domain" '@introduceDomain @introduceDomain' "$first $second"
passed
