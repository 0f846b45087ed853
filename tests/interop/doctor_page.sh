#!/usr/bin/env bash
# doctor_page.sh XENPV_SIM XENPV_DOCTOR UNIT_DOCTOR [DIRECTORY]: tests xenpv-doctor's HTML report in
# headless Chromium. Keeps the pages and the screenshots in DIRECTORY for inspection.
source "$(dirname "$0")/check.sh"
doctor=$2
here=$(dirname "$0")
kept=${4:-$dir}
mkdir -p "$kept"
requires python3
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[[ -n $chromium ]] || { echo "skipped: chromium is not installed"; exit 77; }

# The report on a captured guest shows all verdicts; the report on a measurement shows all charts.
python3 "$here/evtchn_tree.py" unpack "$here/../unit/channels/captures/hvm-intx.txt" "$dir/guest"
"$doctor" --root "$dir/guest" --html "$kept/captured.html" >/dev/null 2>&1 || true
"$doctor" --measure 2s --html "$kept/measured.html" >/dev/null 2>&1 || true
XENPV_TEST_OUTPUT=$kept "$3" --gtest_filter='health_page.*:heat_map.*' >"$dir/output" || { cat "$dir/output"; exit 1; }
for page in captured measured cpus-2 cpus-8 cpus-64; do
  mkdir -p "$kept/$page"
  # The browser complains about missing services such as dbus.
  status=0
  python3 "$here/page_check.py" "$chromium" "$kept/$page.html" "$kept/$page" >"$dir/output" 2>&1 || status=$?
  cat "$dir/output"
  expect "$page: no problem in any view" 0 "$status"
  expect "$page: five views" 5 "$(find "$kept/$page" -name '*.png' -size +4k | wc -l)"
done
passed
