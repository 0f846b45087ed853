#!/usr/bin/env bash
# nbd_metrics.sh XENPV_SIM XENPV_DISK: tests the metrics of xenpv-disk status, their alert rules and
# dashboard, the list of clients, and the JSON schema.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
packaging=$here/../../packaging
requires nbdcopy python3
truncate -s 8M "$dir/image"
"$sim" start --dir "$host" --disk xvdb,memory=64M,queues=2 --disk xvdc,file="$dir/image",ro
source "$here/serve.sh"
check_metrics() { python3 "$here/metrics_check.py" "$@" 2>&1 || true; }
# scrape FILE: writes the metrics of all servers to FILE
scrape() { in_guest "$disk" status --prometheus >"$1"; }
value_of() { check_metrics value "$dir/metrics" "$@"; }
# ask_json QUERY: evaluates a Python expression, in which `disks` and `servers` are the lists of the document
ask_json() {
  in_guest "$disk" status --json | python3 -c "
import json, sys
document = json.load(sys.stdin)
disks, servers = document['disks'], document['servers']
print($1)"
}

# A name with every character that label values escape; a newline is not possible in a name.
started=$(date +%s)
name='a"b\c{},'
serve xvdb --name "$name" --unix "$dir/b.sock"
first=$server
serve xvdc --unix "$dir/c.sock"
uri="nbd+unix:///?socket=$dir/b.sock"

# the format
truncate -s 64M "$dir/data"
nbdcopy --flush "$dir/data" "$uri"
scrape "$dir/metrics"
names=$(check_metrics format "$dir/metrics")
expect_line "the metrics are valid and consistent" '^xenpv_disk_latency_seconds$' "$names"
expect "all metrics have the same prefix" "" "$(grep -v '^xenpv_disk_' <<<"$names" || true)"
expect "bytes written" 67108864 "$(value_of xenpv_disk_bytes_total disk=xvdb operation=write)"
expect "the version" 1 "$(value_of xenpv_disk_build_info disk=xvdb version="$("$disk" --version | awk 'NR == 1 { print $2 }')")"
expect "a label with quotes and backslashes" 1 "$(value_of xenpv_disk_info disk=xvdb device=device/vbd/51728 \
  backend=/local/domain/0/backend/vbd/1/51728 export="$name" server=xvdb kernel_device=)"
expect "the properties of a disk" "1 0 2 8388608 1" "$(value_of xenpv_disk_read_only disk=xvdc) \
$(value_of xenpv_disk_read_only disk=xvdb) $(value_of xenpv_disk_queues disk=xvdb) \
$(value_of xenpv_disk_size_bytes disk=xvdc) $(value_of xenpv_disk_up disk=xvdc)"
start=$(value_of xenpv_disk_start_time_seconds disk=xvdb)
expect "the start time" True "$(python3 -c "print($started - 1 <= $(ask_json 'disks[0]["start_time"]') <= $(date +%s) + 1 and $start > 1e9)")"
expect "the series of a disk are few" True "$(python3 -c "print($(grep -c 'disk="xvdb"' "$dir/metrics") < 200)")"

# under load: each scrape is consistent, and no counter decreases
nbdcopy --connections=2 "$uri" null: &
load=$!
for i in {01..20}; do scrape "$dir/scrape$i"; done
wait "$load"
expect "scrapes during a copy are consistent" "$names" "$(check_metrics format "$dir"/scrape*)"

# clients
expect "no clients, no table" "" "$(in_guest "$disk" status xvdb | grep CLIENT || true)"
python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from nbd_conformance import *
c = Connection("unix:" + sys.argv[2]).go(b"")
c.read(0, 4096)
c.error_of(READ, 1 << 40, 4096)
open(sys.argv[3], "w").close()
c.receive(1)' "$here" "$dir/b.sock" "$dir/asked" 2>/dev/null &
client=$!
wait_for "a client has sent requests" test -e "$dir/asked"
scrape "$dir/metrics"
expect "the number of clients" "1 0" "$(value_of xenpv_disk_clients disk=xvdb) $(value_of xenpv_disk_clients disk=xvdc)"
shown=$(in_guest "$disk" status xvdb)
expect_line "the table of clients has a header" \
  '^CLIENT +IDENTITY +ADDRESS +ACCESS +AGE +IDLE +REQUESTS +ERRORS +READ +WRITTEN$' "$shown"
expect_line "the server has a line" '^server of xvdb: 1 clients, 0 waiting, 0 handshakes, memory [0-9.]+ [KM]?i?B of 256 MiB, at most [0-9.]+ [KM]?i?B$' "$shown"
expect_line "a client" '^ *[0-9]+  -  +unix  +w  +[0-9]+s +[0-9]+s +2 +1 +4096 +0$' "$shown"
expect "a client in JSON" "True True False" "$(ask_json '" ".join(str(x) for x in (lambda c:
  (0 <= c["idle_ns"] <= c["age_ns"], c["age_ns"] < 60e9, c["read_only"]))(disks[0]["server"]["clients"][0]))')"

# the schema
in_guest "$disk" status --json >"$dir/status.json"
if python3 -c 'import jsonschema' 2>/dev/null; then
  schema=$packaging/schema/xenpv-disk-status.schema.json
  expect "the JSON output matches its schema" xenpv-disk.status "$(python3 "$here/evtchn_tree.py" validate "$schema" "$dir/status.json")"
  sed 's/"reconnects"/"recconects"/' "$dir/status.json" >"$dir/wrong.json"
  expect "an invalid document is rejected" 1 "$(status_of python3 "$here/evtchn_tree.py" validate "$schema" "$dir/wrong.json")"
else
  echo "not checked: python3-jsonschema is not installed"
fi
kill "$client"

# users of the metrics
rules=$packaging/prometheus/xenpv-disk.rules.yml
dashboard=$packaging/grafana/xenpv-disk.json
expect "all metrics of the rules exist" "" "$(check_metrics used "$dir/metrics" "$rules")"
expect "all metrics of the dashboard exist" "" "$(check_metrics used "$dir/metrics" "$dashboard")"
expect "the manual page lists all metrics" "$names" \
  "$(sed -n 's/^\.B \(xenpv_disk_[a-z_]*\)$/\1/p' "$packaging/man/xenpv-monitoring.7" | LC_ALL=C sort -u)"
tests=$here/xenpv-disk.rules.test.yml
expect "each alert has a test" "$(sed -n 's/.* alert: //p' "$rules" | sort)" "$(sed -n 's/^ *name: //p' "$tests" | grep Xenpv | sort)"
check_metrics rules "$dashboard" >"$dir/dashboard.rules.yml"
if command -v promtool >/dev/null; then
  expect "promtool accepts the metrics without a remark" "0 " "$(status_of promtool check metrics <"$dir/metrics") \
$(promtool check metrics <"$dir/metrics" 2>&1)"
  expect "promtool accepts the rules" 0 "$(status_of promtool check rules "$rules")"
  tested=$(promtool test rules "$tests" 2>&1 || true)
  expect_line "each alert fires when it should, and only then" '^ *SUCCESS$' "$tested"
  checked=$(promtool check rules "$dir/dashboard.rules.yml" 2>&1 || true)
  expect_line "promtool accepts the expressions of the dashboard" 'SUCCESS: [3-9][0-9] rules found' "$checked"
else
  echo "not checked: promtool (package prometheus) is not installed"
fi

# A server of an older version, which was not restarted after an upgrade: its report lacks values.
python3 -c '
import json, socket, sys
report = json.load(open(sys.argv[1]))["disks"][0]
for key in "version", "start_time", "durability":
    del report[key]
report["server"] = {"accepted": 1, "clients": []}
for operation in report["operations"].values():
    del operation["latency_ns"]["buckets"]
report["name"] = "xvdd"
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
listener.listen()
while True:
    client, _ = listener.accept()
    client.sendall(json.dumps(report).encode())
    client.close()' "$dir/status.json" "$root/run/xenpv/xvdd.control" &
old=$!
wait_for "the old server listens" test -S "$root/run/xenpv/xvdd.control"
expect "an old report is not an error" 0 "$(status_of scrape "$dir/metrics")"
scrape "$dir/metrics"
expect "only the values that it has are in the metrics" "1 67108864 0 0" "$(value_of xenpv_disk_connected disk=xvdd) \
$(value_of xenpv_disk_bytes_total disk=xvdd operation=write) $(grep -c 'memory.*xvdd\|handshakes.*xvdd' "$dir/metrics" || true) \
$(grep -c 'latency.*xvdd' "$dir/metrics" || true)"
expect "the metrics are still valid" "$names" "$(check_metrics format "$dir/metrics")"
kill "$old"
rm "$root/run/xenpv/xvdd.control"

# A server that does not answer does not hide the others.
kill -STOP "$first"
expect "a server that does not answer is an error" 1 "$(status_of scrape "$dir/metrics")"
in_guest "$disk" status --prometheus >"$dir/metrics" 2>/dev/null || true
expect "it is down, the other is up" "0 1" "$(value_of xenpv_disk_up disk=xvdb) $(value_of xenpv_disk_up disk=xvdc)"
expect "it has no other metrics" 1 "$(grep -c 'disk="xvdb"' "$dir/metrics")"
expect_line "the metrics of the other disk are valid" '^xenpv_disk_latency_seconds$' "$(check_metrics format "$dir/metrics")"
kill -CONT "$first"
kill -TERM "$first" "$server"
wait "$first" || expect "the first server ends" 0 $?
expect_end "the second server ends" 0

# A server of two disks: its statistics are not repeated for each disk.
serve xvdb xvdc --unix "$dir/both.sock"
# Newer versions of nbdinfo --size never use the export, so they do not count.
for export in xvdb xvdc xvdb; do nbdcopy --connections=1 "nbd+unix:///$export?socket=$dir/both.sock" null:; done
accepted() { # the connections of the server, once it has counted the last one
  scrape "$dir/metrics"
  [ "$(sed -n 's/^xenpv_disk_connections_accepted_total{.*} //p' "$dir/metrics" | python3 -c 'import sys; print(sum(map(int, sys.stdin)))')" = 3 ]
}
wait_for "the sum over all series is the number of connections" accepted
expect "its label is the first disk" 3 "$(value_of xenpv_disk_connections_accepted_total server=xvdb)"
expect "the limit of its memory is counted once" 1 "$(grep -c '^xenpv_disk_memory_limit_bytes{' "$dir/metrics")"
expect "its second disk refers to it" 1 "$(grep -c '^xenpv_disk_info{.*disk="xvdc".*server="xvdb"' "$dir/metrics")"
expect "the document lists it once" "[('xvdb', ['xvdb', 'xvdc'], 3)]" \
  "$(ask_json '[(s["name"], s["disks"], s["accepted"]) for s in servers]')"
expect "so does the table" 1 "$(in_guest "$disk" status | grep -c '^server of xvdb, xvdc: ')"
kill -TERM "$server"
expect_end "the server of both disks ends" 0
expect "without servers there are no metrics" "" "$(in_guest "$disk" status --prometheus 2>/dev/null || true)"
passed
