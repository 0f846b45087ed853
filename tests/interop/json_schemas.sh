#!/usr/bin/env bash
# json_schemas.sh XENPV_SIM XENPV_DISK: validates the JSON output of xenpv-sim and of xenpv-disk list
# and bench. The tests of the other programs and of xenpv-disk status validate theirs.
source "$(dirname "$0")/check.sh"
disk=$2
here=$(dirname "$0")
schemas=$here/../../packaging/schema
requires python3
python3 -c 'import jsonschema' 2>/dev/null || { echo "skipped: python3-jsonschema is not installed"; exit 77; }
validate() { python3 "$here/evtchn_tree.py" validate "$schemas/$1.schema.json" "${@:2}" | xargs; }

# This backend only announces its disk.
stub='xenstore-write $XENPV_SIM_BACKEND/state 2; exec sleep 1000'
source "$here/serve.sh"
# a host with devices in use, an injected fault, and the backend of another program
"$sim" start --dir "$host" --disk xvdb,memory=16M --disk xvdc,null=1T,ro --disk 768,memory=4M \
  --disk "xvdd,type=vbd3,backend=exec:$stub"
"$sim" status --dir "$host" >"$dir/idle.json"
serve xvdb --unix "$dir/socket"
"$sim" status --dir "$host" >"$dir/serving.json"
in_domain 1 "$disk" list --json >"$dir/list.json"
kill "$server"
expect_end "the server ends" 0
in_domain 1 "$disk" bench xvdb --time 50ms --json >"$dir/bench.json" 2>/dev/null
in_domain 1 "$disk" bench xvdb --load write --overwrite --time 50ms --json >"$dir/write.json" 2>/dev/null
"$sim" run -- "$disk" list --json >"$dir/none.json"
"$sim" run --report "$dir/report.json" --fault event-doubled=1/2 -- "$disk" list --json >/dev/null

expect "a host's status" "xenpv-sim.status xenpv-sim.status xenpv-sim.status" \
  "$(validate xenpv-sim-status "$dir"/{idle,serving,report}.json)"
expect "lists of disks" "xenpv-disk.list xenpv-disk.list" "$(validate xenpv-disk-list "$dir"/{list,none}.json)"
expect "the lists differ" "4 0" "$(grep -c '"devid"' "$dir/list.json") $(grep -c '"devid"' "$dir/none.json" || true)"
expect "benchmarks" "xenpv-disk.bench xenpv-disk.bench" "$(validate xenpv-disk-bench "$dir"/{bench,write}.json)"
for name in list bench; do
  sed 's/"schema_version": 1/"schema_version": 2/' "$dir/$name.json" >"$dir/wrong.json"
  expect "an invalid document is rejected ($name)" 1 \
    "$(status_of python3 "$here/evtchn_tree.py" validate "$schemas/xenpv-disk-$name.schema.json" "$dir/wrong.json")"
done
sed 's/"open_handles": [0-9]*/"open_handles": -1/' "$dir/idle.json" >"$dir/wrong.json"
expect "an invalid document is rejected (status)" 1 \
  "$(status_of python3 "$here/evtchn_tree.py" validate "$schemas/xenpv-sim-status.schema.json" "$dir/wrong.json")"
# Every schema that is named in the sources has a file, and each file is a valid schema.
expect "each document has a schema" "" "$(python3 - "$here/../.." <<'END'
import json, pathlib, re, sys
from jsonschema import Draft202012Validator
top = pathlib.Path(sys.argv[1])
known = set()
for path in (top / "packaging/schema").glob("*.json"):
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    known |= set(re.findall(r'"const": "(xenpv-[a-z.-]+)"', path.read_text()))
named = set()
for folder in "apps", "lib":
    for path in (top / folder).rglob("*.cpp"):
        text = path.read_text()
        named |= set(re.findall(r'json_document\("(xenpv-[a-z.-]+)"', text))
        named |= set(re.findall(r'\bschema"?\]? = "(xenpv-[a-z.-]+)"', text))
assert len(named) > 9, named
print(*sorted(named - known), sep=" ")
END
)"
passed
