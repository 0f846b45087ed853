#!/usr/bin/env bash
# Runs the xenpv programs on real Xen, in domain 0 and in PV, PVH and HVM guests; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/real-xen/run.sh [--host HOST] [--guest HOST] [--build DIR] [--static FILE] [--out DIR]
                             [--places "PLACE..." | --short] [--shared] [--hosts N] [--again]
                             [--minutes N] [--list] [SCENARIO...]

Boots a Xen host in QEMU, without KVM, once per scenario, and compares the reported results with the
scenario's expectations. An x86 host uses one CPU of this machine. Installs missing packages (as root
or with sudo) and builds the images, which are kept for later runs; see image.sh --help.

  --host HOST    bookworm (Xen 4.17), trixie (Xen 4.20) or trixie-arm64; the default is this
                 machine's release if it is one of these, otherwise bookworm
  --guest HOST   run guests with HOST's kernel and root file system
  --build DIR    use the programs in this build instead of building them in build/check
  --static FILE  use this statically linked xenpv instead of building it with packaging/static.sh
  --out DIR      write logs to DIR instead of build/logs/real-xen/HOST; SCENARIO/console.log is
                 domain 0's console
  --places LIST  run only in these places (dom0 pv pvh hvm); pv4 is pv with four vCPUs
  --short        run each scenario only in its essential places, and omit scenarios that take long
                 or need a quiet machine; implies --shared
  --shared       boot each host once and run the scenarios in it one after another
  --hosts N      run N hosts side by side, which share the scenarios; the default is 1, or 2 for
                 --short if this machine has two CPUs and enough memory
  --again        run a failed scenario a second time and count only the second run, because an
                 emulated host on a busy machine may exceed any time limit
  --minutes N    start no scenario after N minutes; those left over are counted as skipped
  --list         list the scenarios

The last line is "N passed, N failed, N skipped". Exit status: 0 if nothing failed, 1 if something
failed, 2 if the command line is invalid, 77 if QEMU is missing and cannot be installed.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
# Domain 0 enforces the limits of the scenarios in the time of the emulated host, which is slower than
# real time on a busy machine. These limits in real time end only hosts that hang.
boot_seconds=600 place_seconds=600 slowness=5
# One host uses up to 4.5 GiB.
memory_for_two_kib=$((10 << 20))

host= guest=
build=
static=
out=
only_places=
short=no again=no shared=no hosts= minutes=
scenarios=()

die() {
  echo "real-xen: $*" >&2
  exit 1
}

scenario_names() {
  local file
  for file in "$here"/scenarios/*/scenario.sh; do
    file=${file%/scenario.sh}
    echo "${file##*/}"
  done
}

parse_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --host | --guest | --build | --static | --out | --places | --hosts | --minutes)
        [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
        case $1 in
          --host) host=$2 ;;
          --guest) guest=$2 ;;
          --build) build=$(realpath "$2") ;;
          --static) static=$(realpath "$2") ;;
          --out) out=$(realpath -m "$2") ;;
          --places) only_places=$2 ;;
          --hosts)
            [[ $2 =~ ^[1-9]$ ]] || { echo "real-xen: --hosts needs a number from 1 to 9, not '$2'" >&2 && exit 2; }
            hosts=$2
            ;;
          --minutes)
            [[ $2 =~ ^[0-9]{1,4}$ ]] || { echo "real-xen: --minutes needs a number, not '$2'" >&2 && exit 2; }
            minutes=$((10#$2))
            ;;
        esac
        shift
        ;;
      --short) short=yes shared=yes ;;
      --shared) shared=yes ;;
      --again) again=yes ;;
      --list) scenario_names && exit 0 ;;
      -h | --help) usage && exit 0 ;;
      -*) usage >&2 && exit 2 ;;
      *) scenarios+=("$1") ;;
    esac
    shift
  done
  local name
  for name in "${scenarios[@]}"; do
    if [[ ! -e $here/scenarios/$name/scenario.sh ]]; then
      echo "real-xen: no scenario '$name'; available: $(scenario_names | paste -s -d ' ')" >&2
      exit 2
    fi
  done
  if [[ ${#scenarios[@]} -eq 0 ]]; then
    mapfile -t scenarios < <(scenario_names)
  fi
  host=${host:-$(own_host)}
  guest=${guest:-$host}
  for name in "$host" "$guest"; do
    if [[ ! -e $here/hosts/$name.sh ]]; then
      echo "real-xen: no host '$name'; available: $(host_names | paste -s -d ' ')" >&2
      exit 2
    fi
  done
  architecture=$(of_host "$host" architecture)
  if [[ $(of_host "$guest" architecture) != "$architecture" ]]; then
    echo "real-xen: cannot run guests of $guest on $host: the architectures differ" >&2
    exit 2
  fi
  out=${out:-$top/build/logs/real-xen/$host}
  hosts=${hosts:-$(default_hosts)}
}

default_hosts() {
  local available
  available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
  if [[ $short == yes && $(nproc) -ge 2 && $available -ge $memory_for_two_kib ]]; then echo 2; else echo 1; fi
}

host_names() {
  local file
  for file in "$here"/hosts/*.sh; do
    file=${file##*/}
    echo "${file%.sh}"
  done
}

own_host() {
  local VERSION_CODENAME=
  source /etc/os-release
  if [[ -e $here/hosts/$VERSION_CODENAME.sh ]]; then echo "$VERSION_CODENAME"; else echo bookworm; fi
}

# of_host HOST VARIABLE: prints a variable set in hosts/HOST.sh.
of_host() {
  (
    set +u
    # shellcheck source=/dev/null
    source "$here/hosts/$1.sh"
    echo "${!2}"
  )
}

have_tools() {
  local tool emulator=qemu-system-x86_64
  [[ $architecture != arm64 ]] || emulator=qemu-system-aarch64
  for tool in "$emulator" mmdebstrap mke2fs cpio flock depmod xz; do
    command -v "$tool" >/dev/null || return 1
  done
  "$emulator" --version >/dev/null 2>&1
}

need_tools() {
  have_tools && return
  local kinds=(real-xen)
  [[ $architecture != arm64 ]] || kinds+=(real-xen-arm64)
  "$top/packaging/debian/install-packages.sh" "${kinds[@]}" >&2 || true
  have_tools && return
  echo "real-xen: QEMU is missing and cannot be installed: skipped" >&2
  exit 77
}

# setting_of SCENARIO VARIABLE: prints a variable set in the scenario.
setting_of() {
  (
    set +u
    source "$here/scenarios/$1/scenario.sh"
    declare -n variable=$2
    echo "${variable[*]}"
  )
}

# places_of SCENARIO: prints the places where the scenario runs.
places_of() {
  local places=$only_places
  if [[ -z $places && $short == yes ]]; then places=$(setting_of "$1" short_places); fi
  if [[ -z $places ]]; then places=$(setting_of "$1" places); fi
  places=${places:-pv pvh}
  [[ " $(of_host "$host" host_lacks) " != *" $1 "* ]] || places=
  local here_only place
  here_only=$(of_host "$host" host_places)
  for place in $places; do
    # Not every architecture supports all guest types.
    if [[ -z $here_only || $place == none || " $here_only " == *" $place "* ]]; then echo "$place"; fi
  done | paste -s -d ' '
}

build_programs() {
  local name programs=()
  [[ -z $build ]] || return 0
  for name in "${scenarios[@]}"; do
    read -r -a more <<<"$(setting_of "$name" programs)"
    programs+=("${more[@]}")
  done
  # static_program builds this one.
  mapfile -t programs < <(printf '%s\n' "${programs[@]}" | grep -vx xenpv-static)
  [[ ${#programs[@]} -gt 0 ]] || return 0
  mkdir -p "$out"
  echo "== building ${programs[*]}"
  if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
    build=$top/build/check
    for name in "${scenarios[@]}"; do
      [[ -z $(setting_of "$name" installs) ]] || programs+=(manual_pages xensim xenpv-custodian)
    done
    cmake -S "$top" -B "$build" -G Ninja -DXENPV_WERROR=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$out/build.log" 2>&1 &&
      cmake --build "$build" --target "${programs[@]}" >>"$out/build.log" 2>&1
  else
    build=$top/build/$architecture
    "$top/packaging/cross-build.sh" "$architecture" "${programs[@]}" >"$out/build.log" 2>&1
  fi || {
    tail -n 40 "$out/build.log" >&2
    die "the build failed; see $out/build.log"
  }
}

# needed_libraries PROGRAM...: prints the paths of all shared libraries that the programs need.
needed_libraries() {
  local root=
  if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
    ldd "$@" | awk '$2 == "=>" { print $3 == "not" ? "missing:" $1 : $3 }' | sort -u
    return
  fi
  # ldd does not work for other architectures.
  root=$("$top/packaging/cross-build.sh" --sysroot "$architecture")
  local -A seen=()
  local todo=("$@") name path
  while [[ ${#todo[@]} -gt 0 ]]; do
    for name in $(readelf -d "${todo[0]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      [[ -z ${seen[$name]:-} ]] || continue
      seen[$name]=yes
      path=$(find "$root/lib" "$root/usr/lib" "$(dirname "$1")" -name "$name" -print -quit)
      echo "${path:-missing:$name}"
      [[ -z $path ]] || todo+=("$path")
    done
    todo=("${todo[@]:1}")
  done
}

# missing_libraries PROGRAM...: prints the libraries that are missing from the host's or the guests'
# root image.
missing_libraries() {
  local path images
  needed_libraries "$@" | while read -r path; do
    [[ $path != missing:* ]] || die "cannot find library ${path#missing:}, needed by $*"
    for images in "$host_images" "$guest_images"; do
      if ! grep -q "/${path##*/}\$" "$images/root.files"; then
        echo "$path"
        break
      fi
    done
  done
}

# install_project TREE: installs the build below TREE, without headers and other development files.
install_project() {
  DESTDIR=$1 cmake --install "$build" --prefix /usr --strip >"$out/install.log" 2>&1 || {
    grep -v '^-- ' "$out/install.log" >&2
    die "the installation failed; omit --build, or build all programs and man pages first"
  }
  rm -rf "$1"/usr/{include,share/doc,lib/*.a,lib/*/*.a,lib/cmake,lib/*/cmake}
}

# static_program: prints the path of the statically linked xenpv, and builds it unless --static names
# it.
static_program() {
  if [[ -n $static ]]; then echo "$static"; else "$top/packaging/static.sh" --program; fi
}

# make_run_disk FILE SCENARIO...: creates a disk image with the scenarios, their programs and the
# scripts in inside/.
make_run_disk() {
  local file=$1 name tree program programs=() more paths=() libraries size
  shift
  tree=$(mktemp -d "${TMPDIR:-/tmp}/real-xen-XXXXXX")
  # shellcheck disable=SC2064  # expand now
  trap "rm -rf '$tree'" EXIT
  mkdir -p "$tree/bin" "$tree/lib" "$tree/scenarios"
  cp -r "$here/inside" "$tree/inside"
  for name in "$@"; do
    cp -r "$here/scenarios/$name" "$tree/scenarios/"
    echo "places='$(places_of "$name")'" >>"$tree/scenarios/$name/scenario.sh"
    read -r -a more <<<"$(setting_of "$name" programs)"
    programs+=("${more[@]}")
    if [[ -n $(setting_of "$name" installs) && ! -e $tree/installed ]]; then
      install_project "$tree/installed"
    fi
  done
  for program in $(printf '%s\n' "${programs[@]}" | sort -u); do
    if [[ $program == xenpv-static ]]; then
      cp "$(static_program)" "$tree/bin/xenpv-static"
      continue
    fi
    [[ -x $build/bin/$program ]] || die "no $build/bin/$program; build it first, or omit --build"
    paths+=("$build/bin/$program")
  done
  if [[ ${#paths[@]} -gt 0 ]]; then
    cp -t "$tree/bin" "${paths[@]}"
    libraries=$(missing_libraries "${paths[@]}")
    # shellcheck disable=SC2086  # split into paths
    [[ -z $libraries ]] || cp -L -t "$tree/lib" $libraries
  fi
  size=$(($(du -sk "$tree" | cut -f 1) * 5 / 4 + 8192))
  rm -f "$file"
  mke2fs -q -t ext4 -m 0 -O ^has_journal -d "$tree" "$file" "${size}K" >/dev/null
  rm -rf "$tree"
  trap - EXIT
}

# fits PLACE LIST: true if PLACE is in LIST, which is "*" or a comma-separated list of places.
# HOST/PLACE and HOST/* match only on that host.
fits() {
  [[ $2 == '*' || ,$2, == *,$1,* || ,$2, == *,$host/$1,* || ,$2, == *",$host/*,"* ]]
}

# load_table FILE: reads lines "PLACES CASE EXPECTATION"; the first line that matches a case
# applies.
load_table() {
  local line
  table=() used=()
  while read -r line; do
    [[ -z $line || $line == \#* ]] || table+=("$line")
  done <"$1"
}

# expectation PLACE CASE: sets `expected`, and marks all matching lines as used.
expectation() {
  local index places pattern value
  expected=
  for index in "${!table[@]}"; do
    read -r places pattern value <<<"${table[index]}"
    # shellcheck disable=SC2053  # a pattern
    if fits "$1" "$places" && [[ $2 == $pattern ]]; then
      used[index]+=" $1"
      expected=${expected:-$value}
    fi
  done
}

# compare TEXT RELATION-AND-NUMBER: true if TEXT is a number for which the relation holds.
compare() {
  awk -v value="$1" -v relation="${2:0:2}" -v limit="${2:2}" 'BEGIN {
    exit !(value ~ /^[-+.0-9e]+$/ && (relation == ">=" ? value + 0 >= limit + 0 : value + 0 <= limit + 0))
  }'
}

# evaluate PLACE VERDICT CASE TEXT: counts and prints one case.
evaluate() {
  local place=$1 verdict=$2 name=$3 text=$4 result=FAILED why=$4
  expectation "$place" "$name"
  case $verdict/$expected in
    fail/*) ;;
    */) why="no matching expectation; reported: $verdict $text" ;;
    pass/pass) result=ok ;;
    skip/skip) result=skipped ;;
    skip/*) why="skipped, but expected $expected: $text" ;;
    pass/skip) why="passed, but expected to be skipped; update the expectations" ;;
    value/=*)
      # shellcheck disable=SC2053
      if [[ $text == ${expected:1} ]]; then result=ok; else why="is '$text', expected '${expected:1}'"; fi
      ;;
    value/[\>\<]=*) if compare "$text" "$expected"; then result=ok; else why="is '$text', expected $expected"; fi ;;
    *) why="reported: $verdict $text; expected $expected" ;;
  esac
  count "$result" "$place $name" "$why"
}

# count RESULT CASE WHY: prints a case and records it for the totals.
count() {
  echo "$1" >>"$out/$scenario/verdicts"
  printf '%-8s%s %s%s\n' "$1" "$scenario" "$2" "${3:+  ($3)}"
}

# report_missing PLACE: counts each expectation as failed if no case was reported for it.
report_missing() {
  local place=$1 index places pattern
  for index in "${!table[@]}"; do
    read -r places pattern _ <<<"${table[index]}"
    if fits "$place" "$places" && [[ " ${used[index]:-} " != *" $place "* ]]; then
      count FAILED "$place $pattern" "expected, but not reported"
    fi
  done
}

# take_scenario: prints the next scenario and removes it from the queue.
take_scenario() {
  local name
  {
    flock 9
    if [[ -n $minutes && $SECONDS -ge $((minutes * 60)) ]]; then skip_queue; fi
    name=$(head -n 1 "$out/queue")
    sed -i 1d "$out/queue"
  } 9>"$out/queue.lock"
  echo "$name"
}

# skip_queue: empties the queue, and counts each scenario in it as skipped unless it has run once.
skip_queue() {
  local name
  while read -r name; do
    echo "note    $name was not started: $minutes minutes have passed" >&2
    if [[ -e $out/$name.first ]]; then
      mv "$out/$name.first" "$out/$name"
    else
      mkdir -p "$out/$name"
      echo skipped >"$out/$name/verdicts"
    fi
  done <"$out/queue"
  : >"$out/queue"
}

# cpu_seconds: prints the CPU time of the host.
cpu_seconds() {
  local hertz
  hertz=$(getconf CLK_TCK)
  # A host that has ended needs no more.
  awk -v hertz="$hertz" '{ sub(/^.*\) /, ""); printf "%d\n", ($12 + $13) / hertz }' "/proc/$machine/stat" 2>/dev/null ||
    echo "$start_cpu"
}

# next_scenario: sends the name of the next scenario, or "over", to domain 0.
next_scenario() {
  local name=
  if [[ $shared == yes || -z $scenario ]]; then name=$(take_scenario); fi
  if [[ -z $name ]]; then
    over=yes
    echo over >&"$orders"
    return
  fi
  start_scenario "$name"
  echo "$name" >&"$orders"
}

# start_scenario NAME: sets `scenario`, and resets the state of a scenario.
start_scenario() {
  local limit
  scenario=$1 start=$SECONDS start_cpu=$(cpu_seconds) ended=
  places=$(places_of "$scenario")
  limit=$(setting_of "$scenario" limit)
  patience=$((slowness * ${limit:-120} + place_seconds))
  rm -rf "${out:?}/$scenario"
  mkdir -p "$out/$scenario"
  : >"$out/$scenario/verdicts"
  ln -s "../${where##*/}/console.log" "$out/$scenario/console.log"
  load_table "$here/scenarios/$scenario/expect"
  echo "== $scenario in $places on $host${other_guests:+, guests of $guest}"
}

# finish_scenario: collects the results, after the host has written them or stopped.
finish_scenario() {
  local place
  tar -xf "$where/results.tar" -C "$out/$scenario" 2>/dev/null || true
  for place in $places; do
    [[ " $ended " == *" $place "* ]] || count FAILED "$place" "the host stopped before the scenario had finished in this place"
  done
  echo "== $scenario took $((SECONDS - start)) s, $(($(cpu_seconds) - start_cpu)) s of CPU time; logs: $out/$scenario"
  if [[ $again == yes && ! -e $out/$scenario.first ]] && grep -q FAILED "$out/$scenario/verdicts"; then
    echo "note    $scenario failed; only the second attempt counts. Logs of the first attempt: $out/$scenario.first"
    mv "$out/$scenario" "$out/$scenario.first"
    {
      flock 9
      echo "$scenario" >>"$out/queue"
    } 9>"$out/queue.lock"
  fi
}

# process_lines: processes the lines from domain 0 as they arrive, until the host has stopped.
process_lines() {
  local kind place verdict name text status line= part idle=0
  while :; do
    status=0
    # Bash reaps the host only between two reads with a time limit, and tail ends only after that.
    IFS= read -r -t 2 -u "$lines" part || status=$?
    line+=$part
    # A timeout is a status above 128.
    if [[ $status -gt 128 ]]; then
      idle=$((idle + 2))
      [[ $idle -ge $patience ]] || continue
      idle=0
      echo "note    ${scenario:-boot} made no progress for $patience s: stopping the host"
      kill "$machine"
      continue
    fi
    [[ $status -eq 0 ]] || return 0
    read -r kind place verdict name text <<<"$line" || true
    line= idle=0
    case $kind in
      next) next_scenario ;;
      note) echo "note    $scenario $place $verdict $name $text" ;;
      case) evaluate "$place" "$verdict" "$name" "$text" ;;
      end)
        ended+=" $place"
        report_missing "$place"
        echo "== $scenario $place: $verdict s of the host's time"
        ;;
      finished)
        finish_scenario
        if [[ $shared == yes ]]; then scenario=; else over=yes; fi
        ;;
    esac
  done
}

# run_host NAME: boots a host, which takes scenarios from the queue.
run_host() {
  local where=$out/$1 status=0 scenario= over=no machine lines orders
  local places= start=0 start_cpu=0 ended= patience=$boot_seconds
  local -a table=() used=()
  mkdir -p "$where"
  mkfifo "$where/orders.in" "$where/orders.out"
  # Open for reading too, so that this never waits for QEMU.
  exec {orders}<>"$where/orders.in"
  : >"$where/results.txt"
  "$here/host.sh" "$host_images" "$guest_images" "$out/run.img" "$where" 2>"$where/qemu.log" &
  machine=$!
  # shellcheck disable=SC2064  # expand now
  trap "kill $machine 2>/dev/null || true; rm -f '$where/results.tar' '$where'/orders.*" EXIT
  trap 'exit 1' INT TERM
  exec {lines}< <(tail -q -n +1 -f --pid="$machine" "$where/results.txt")
  process_lines
  wait "$machine" || status=$?
  exec {lines}<&- {orders}>&-
  rm -f "$where"/orders.*
  if [[ $status -ne 0 || $over == no ]]; then lost_host; fi
  rm -f "$where/results.tar"
}

# lost_host: reports a host that ended prematurely.
lost_host() {
  local reason="powered off prematurely"
  if [[ $status -ne 0 ]]; then reason="QEMU exited with status $status: $(tail -n 1 "$where/qemu.log")"; fi
  echo "-- end of $where/console.log:" >&2
  tail -n 40 "$where/console.log" >&2 || true
  # A host that cannot boot fails the next scenario, so that this ends.
  if [[ -z $scenario ]]; then
    scenario=$(take_scenario)
    [[ -n $scenario ]] || return 0
    start_scenario "$scenario"
  fi
  count FAILED host "$reason"
  finish_scenario
}

# work NUMBER: boots one host after another until the queue is empty.
work() {
  local boot
  for ((boot = 1; ; boot++)); do
    [[ -s $out/queue ]] || return 0
    run_host "host-$1.$boot"
  done
}

# run_all SCENARIO...: runs the scenarios in $hosts hosts side by side.
run_all() {
  local number workers=()
  rm -rf "$out"/host-* "${@/#/$out/}"
  for name in "$@"; do rm -rf "${out:?}/$name.first"; done
  make_run_disk "$out/run.img" "$@"
  printf '%s\n' "$@" >"$out/queue"
  for ((number = 1; number <= hosts; number++)); do
    (work "$number") &
    workers+=("$!")
  done
  trap 'kill "${workers[@]}" 2>/dev/null || true; wait; rm -f "$out/run.img" "$out"/queue*' EXIT
  trap 'exit 1' INT TERM
  for number in "${workers[@]}"; do wait "$number"; done
}

# number_of RESULT: prints the number of cases with this result.
number_of() {
  local name sum=0
  for name in "${chosen[@]}"; do
    sum=$((sum + $(grep -cx "$1" "$out/$name/verdicts" 2>/dev/null || true)))
  done
  echo "$sum"
}

parse_options "$@"
need_tools
host_images=$("$here/image.sh" "$host")
guest_images=$("$here/image.sh" "$guest")
other_guests=
[[ $guest == "$host" ]] || other_guests=yes
build_programs
chosen=()
for name in "${scenarios[@]}"; do
  case $(places_of "$name") in
    none) echo "note    $name is not in the short run" ;;
    '') echo "note    $name cannot run on $host" ;;
    *) chosen+=("$name") ;;
  esac
done
mkdir -p "$out"
if [[ ${#chosen[@]} -gt 0 ]]; then run_all "${chosen[@]}"; fi
echo
failed=$(number_of FAILED)
echo "$(number_of ok) passed, $failed failed, $(number_of skipped) skipped"
[[ $failed -eq 0 ]]
