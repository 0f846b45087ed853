#!/usr/bin/env bash
# applets.sh PROGRAM CAPTURES: tests how the multi-call program selects its applets.
set -uo pipefail

program=$1 captures=$2
# shellcheck source=tests/static/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
applets=(xenpv-disk xenpv-doctor xenpv-evtchn xenpv-ipi xenpv-timer)

# as NAME ARGUMENT...: runs the program with this argv[0].
as() (exec -a "$@")

version=$("$program" --version | sed -n 1p)
version=${version#xenpv }
[[ -n $version ]] || failed "no version"

# Prints --help without line breaks.
normalized_help() { "$program" --help | tr -s ' \n' ' '; }

# The listing.
[[ $("$program" --list | paste -s -d ' ') == "${applets[*]}" ]] || failed "--list: $("$program" --list)"
gives 0 '^Usage: xenpv ' "$program"
gives 0 '^Usage: xenpv ' "$program" --help
gives 0 '^\.TH "XENPV" 1 ' "$program" --help-man

# Each applet, by all its names.
mkdir "$work/bin"
"$program" --install "$work/bin" || failed "--install"
"$program" --install "$work/bin" || failed "--install a second time"
for applet in "${applets[@]}"; do
  word=${applet#xenpv-}
  # The results of xenpv-doctor are its exit statuses, so that it has another one for usage errors.
  usage_error=2
  [[ $word != doctor ]] || usage_error=64
  [[ $(readlink "$work/bin/$applet") == "$(realpath "$program")" ]] || failed "$applet: no link"
  gives 0 "^$applet ${version//./\\.}" "$work/bin/$applet" --version
  gives 0 "^$applet " "$program" "$word" --version
  gives 0 "^$applet " "$program" "$applet" --version
  gives 0 "^$applet " as "@$applet" "$program" --version
  gives 0 "^$applet " as "@/usr/bin/$applet" "$program" --version
  gives 0 "^Usage: $applet " "$program" "$word" --help
  gives $usage_error "^$applet: unknown option '--nonsense'" "$program" "$word" --nonsense
  # The listing describes it as it describes itself.
  summary=$("$program" "$word" --help | sed -n "1s/^$applet: //p")
  gives 0 "$word +${summary//\?/\\?}" normalized_help
done

# Errors.
gives 2 "^xenpv: no applet 'disks' \(applets: xenpv-disk, xenpv-doctor, " "$program" disks
gives 2 "^xenpv: no applet 'xenpv-disks' " as xenpv-disks "$program"
gives 2 "^xenpv: no applet 'xenpv-custodian' " "$program" xenpv-custodian
gives 2 '^xenpv-custodian: only xenpv programs can start it$' as xenpv-custodian "$program" </dev/null
gives 2 "^xenpv: unknown option '--nonsense'" "$program" --nonsense
gives 1 'install links in .*/none: ' "$program" --install "$work/none"
touch "$work/none"
gives 1 'create the directory first' "$program" --install "$work/none"

# Run an applet.
python3 "$(dirname "$0")/../interop/evtchn_tree.py" unpack "$captures/dom0.txt" "$work/capture"
gives 0 'timer0' as xenpv-evtchn "$program" list --root "$work/capture"
finish
