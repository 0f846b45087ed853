#!/usr/bin/env bash
# evtchn_screen.sh XENPV_SIM XENPV_EVTCHN: tests xenpv-evtchn watch on a terminal: output at 80x24
# and 200x50, a resize, restoring the terminal, and CPU usage.
source "$(dirname "$0")/check.sh"
evtchn=$2
here=$(dirname "$0")
requires tmux python3
tree() { python3 "$here/evtchn_tree.py" "$@"; }
tree unpack "$here/../unit/channels/captures/dom0.txt" "$dir/dom0"
tree unpack "$here/../unit/channels/captures/cpus-64.txt" "$dir/cpus-64"

server=xenpv-$$
terminal() { tmux -L "$server" -f /dev/null "$@"; }
trap 'terminal kill-server 2>/dev/null || true; jobs -p | xargs -r kill 2>/dev/null || true; rm -rf "$dir"' EXIT

# looks_until TEST...: captures the terminal to `shown` until TEST succeeds, for at most 20 s
looks_until() {
  local end=$((SECONDS + 20))
  while [[ $SECONDS -lt $end ]]; do
    shown=$(terminal capture-pane -p)
    "$@" && return
    sleep 0.2
  done
}
has_line() { grep -Eq -- "$1" <<<"$shown"; }
# The first channel shows the sort order.
first_channel() { sed -n 4p <<<"$shown"; }
first_is() { first_channel | grep -E -- "$1" >/dev/null; }
# If the shell is ready, the last line is its prompt.
last_line() { grep . <<<"$shown" | tail -n 1; }
is_prompt() { [[ $(last_line) == '$' ]]; }

shows() { # WHAT REGEX: expects a matching line
  looks_until has_line "$2"
  expect_line "$1" "$2" "$shown"
}
shows_first() { # WHAT REGEX
  looks_until first_is "$2"
  expect_line "$1" "$2" "$(first_channel)"
}
shows_prompt() { # WHAT
  looks_until is_prompt
  expect "$1" '$' "$(last_line)"
}
widest() { awk '{ if (length > most) most = length } END { print most }' <<<"$shown"; }

tree grow "$dir/dom0" 60 &
growing=$!
# Use short commands, because long paths would wrap.
printf '#!/bin/sh\nexec "%s" watch --root "$1" --interval 500ms\n' "$evtchn" >"$dir/w"
printf '#!/bin/sh\nstty -a | grep -c -- " -echo "\n"%s" watch --root cpus-64 --iterations 2 --interval 400ms\necho ended\n' \
  "$evtchn" >"$dir/twice"
chmod +x "$dir/w" "$dir/twice"
terminal new-session -d -x 80 -y 24 "cd $dir; echo before; PS1='$ ' sh"
shows_prompt "a shell"
terminal send-keys "./w dom0" Enter
shows "a summary at 80x24" '^[0-9]+ events/s, [0-9]+ % on CPU 0; balance [01]\.[0-9]+, movable [01]\.[0-9]+ \(1 is even\)$'
shows "one column per CPU, because there are only two" '^ +IRQ KIND +NAME +EVENTS/S ON +CPU0 +CPU1$'
expect_line "the total of each CPU" '^all +[0-9]+ +[0-9]+$' "$shown"
expect_line "channels" '^ +[0-9]+ device +blkif-backend +[0-9.]+ CPU [01]( [0-9]+%)? +[0-9.]+ +[0-9.]+$' "$shown"
expect_line "the last line lists the keys" '^sort: r rate, i IRQ, .*; q quits$' "$(tail -n 1 <<<"$shown")"
expect_line "the line above says what is shown" '^19 of 41 channels shown, from 1, sorted by rate$' "$(tail -n 2 <<<"$shown")"
expect "all lines of the window are used" 24 "$(wc -l <<<"$shown")"
expect "no line is wider than the window" yes "$([[ $(widest) -le 80 ]] && echo yes)"
rates() { awk '$2 ~ /^(timer|ipi|device|user|pirq|xenbus|console|virq|spinlock)$/ { print $4 }' <<<"$shown"; }
expect "channels are sorted by rate" "$(rates | sort -rn)" "$(rates)"
terminal send-keys i
shows_first "sorted by interrupt" '^ +1 pirq +i8042'
terminal resize-window -x 200 -y 50
shows "the last channels fit at 200x50" '^ +60 device'
expect "all lines of the larger window are used" 50 "$(wc -l <<<"$shown")"
terminal resize-window -x 40 -y 10
shows "a small window shows part of the list" '^ +IRQ NAME +EVENTS/S ON$'
expect "the output fits in the small window" yes "$([[ $(widest) -le 40 && $(wc -l <<<"$shown") -eq 10 ]] && echo yes)"
terminal send-keys q
shows_prompt "q quits"
expect_line "the terminal is restored" '^\$ \./w dom0$' "$shown"
terminal send-keys "./w dom0" Enter
shows "a second run" 'events/s'
terminal send-keys C-c
shows_prompt "Ctrl-C quits"
expect "the terminal is restored again" 2 "$(grep -cE '^\$ \./w dom0$' <<<"$shown")"
terminal send-keys ./twice Enter
shows "watch ends after the last iteration" '^ended$'
expect_line "echo is enabled again" '^0$' "$shown"
shows_prompt "the shell is ready again"

# not enough space for 64 CPU columns
tree grow "$dir/cpus-64" 20 &
terminal resize-window -x 80 -y 24
terminal send-keys "./w cpus-64" Enter
shows "some CPUs in the summary" '^CPU 0: [0-9.]+ +CPU 1: [0-9.]+ '
expect_line "a hint that there are more CPUs" '^... and more CPUs; --json has them all$' "$shown"
expect_line "no CPU columns" '^ +IRQ KIND +NAME +EVENTS/S ON$' "$shown"
terminal kill-server
kill $growing

# With 500 channels on 8 or 64 CPUs and an interval of 1 s, CPU usage must be less than 2%.
if is_sanitized "$evtchn"; then passed && exit; fi
for cpus in 8 64; do
  tree make "$dir/large-$cpus" 500 "$cpus"
  share=$(tree cpu_share "$dir/large-$cpus" 10 "$evtchn" watch --root "$dir/large-$cpus")
  echo "500 channels on $cpus CPUs: $share % of a CPU"
  expect "watch uses less than 2 % of a CPU ($share)" yes "$(awk -v share="$share" 'BEGIN { if (share < 2) print "yes" }')"
done
passed
