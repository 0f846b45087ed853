#!/usr/bin/env bash
# Runs the xenpv programs on real Xen, in domain 0 and in PV, PVH and HVM guests; see usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/real-xen/run.sh [--host HOST] [--guest HOST] [--build DIR] [--out DIR]
                             [--places "PLACE..." | --short] [--again] [--list] [SCENARIO...]

Boots a Xen host in QEMU, without KVM, once per scenario, and compares the reported results with the
scenario's expectations. Installs missing packages (as root or with sudo) and builds the images,
which are kept for later runs; see image.sh --help.

  --host HOST    bookworm (Xen 4.17), trixie (Xen 4.20) or trixie-arm64; the default is this
                 machine's release if it is one of these, otherwise bookworm
  --guest HOST   run guests with HOST's kernel and root file system
  --build DIR    use the programs in this build instead of building them in build/check
  --out DIR      write logs to DIR instead of build/logs/real-xen/HOST; SCENARIO/console.log is
                 domain 0's console
  --places LIST  run only in these places (dom0 pv pvh hvm); pv4 is pv with four vCPUs
  --short        run each scenario only in its essential places, and omit scenarios that take long
                 or need a quiet machine
  --again        run a failed scenario a second time and count only the second run, because an
                 emulated host on a busy machine may exceed any time limit
  --list         list the scenarios

The last line is "N passed, N failed, N skipped". Exit status: 0 if nothing failed, 1 if something
failed, 2 if the command line is invalid, 77 if QEMU is missing and cannot be installed.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
# On a quiet machine, the host boots in 10 to 20 s, and a guest takes another 10 to 20 s.
boot_seconds=120 guest_seconds=180

host= guest=
build=
out=
only_places=
short=no again=no
scenarios=()
passed=0 failed=0 skipped=0

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
      --host | --guest | --build | --out | --places)
        [[ $# -ge 2 ]] || { usage >&2 && exit 2; }
        case $1 in
          --host) host=$2 ;;
          --guest) guest=$2 ;;
          --build) build=$(realpath "$2") ;;
          --out) out=$(realpath -m "$2") ;;
          --places) only_places=$2 ;;
        esac
        shift
        ;;
      --short) short=yes ;;
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
  mkdir -p "$out"
  echo "== building ${programs[*]}"
  if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
    build=$top/build/check
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

# make_run_disk SCENARIO FILE: creates a disk image with the scenario, its programs and the scripts
# in inside/.
make_run_disk() {
  local name=$1 file=$2 tree program programs=() paths=() libraries size
  tree=$(mktemp -d "${TMPDIR:-/tmp}/real-xen-XXXXXX")
  mkdir -p "$tree/bin" "$tree/lib"
  cp -r "$here/inside" "$tree/inside"
  cp -r "$here/scenarios/$name" "$tree/scenario"
  read -r -a programs <<<"$(setting_of "$name" programs)"
  for program in "${programs[@]}"; do
    [[ -x $build/bin/$program ]] || die "no $build/bin/$program; build it first, or omit --build"
    paths+=("$build/bin/$program")
  done
  if [[ ${#paths[@]} -gt 0 ]]; then
    cp -t "$tree/bin" "${paths[@]}"
    libraries=$(missing_libraries "${paths[@]}")
    # shellcheck disable=SC2086  # split into paths
    [[ -z $libraries ]] || cp -L -t "$tree/lib" $libraries
  fi
  echo "places='$(places_of "$name")'" >>"$tree/scenario/scenario.sh"
  size=$(($(du -sk "$tree" | cut -f 1) * 5 / 4 + 8192))
  rm -f "$file"
  mke2fs -q -t ext4 -m 0 -O ^has_journal -d "$tree" "$file" "${size}K" >/dev/null
  rm -rf "$tree"
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

count() {
  case $1 in
    ok) passed=$((passed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
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

# process_lines: processes the lines from domain 0 as they arrive.
process_lines() {
  local kind place verdict name text
  while read -r kind place verdict name text; do
    case $kind in
      begin) begun+=" $place" ;;
      note) echo "note    $scenario $place $verdict $name $text" ;;
      case) evaluate "$place" "$verdict" "$name" "$text" ;;
      end)
        ended+=" $place"
        report_missing "$place"
        echo "== $scenario $place: $verdict s"
        ;;
      over) over=yes ;;
    esac
  done
}

run_scenario() {
  scenario=$1
  local where=$out/$1 start=$SECONDS places seconds status=0 place machine
  local begun= ended= over=no
  local -a table used
  places=$(places_of "$scenario")
  local limit
  limit=$(setting_of "$scenario" limit)
  seconds=$((boot_seconds + $(wc -w <<<"$places") * (${limit:-120} + guest_seconds)))
  echo "== $scenario in $places on $host${other_guests:+, guests of $guest}"
  rm -rf "$where"
  mkdir -p "$where"
  make_run_disk "$scenario" "$where/run.img"
  load_table "$here/scenarios/$scenario/expect"
  : >"$where/results.txt"
  "$here/host.sh" "$host_images" "$guest_images" "$where/run.img" "$where" "$seconds" 2>"$where/qemu.log" &
  machine=$!
  trap 'kill "$machine" 2>/dev/null || true' EXIT
  process_lines < <(tail -q -n +1 -f --pid="$machine" "$where/results.txt")
  wait "$machine" || status=$?
  trap - EXIT
  tar -xf "$where/results.tar" -C "$where" 2>/dev/null || true
  rm -f "$where/results.tar" "$where/run.img"
  for place in $places; do
    [[ " $ended " == *" $place "* ]] || count FAILED "$place" "the host stopped before the scenario had finished in this place"
  done
  case $status in
    0) [[ $over == yes ]] || count FAILED host "powered off prematurely" ;;
    124 | 137) count FAILED host "was stopped after $seconds s" ;;
    *) count FAILED host "QEMU exited with status $status: $(tail -n 1 "$where/qemu.log")" ;;
  esac
  if [[ $over == no ]]; then
    echo "-- end of $where/console.log:" >&2
    tail -n 40 "$where/console.log" >&2 || true
  fi
  echo "== $scenario took $((SECONDS - start)) s; logs: $where"
}

parse_options "$@"
need_tools
host_images=$("$here/image.sh" "$host")
guest_images=$("$here/image.sh" "$guest")
other_guests=
[[ $guest == "$host" ]] || other_guests=yes
build_programs
for name in "${scenarios[@]}"; do
  case $(places_of "$name") in
    none)
      echo "note    $name is not in the short run"
      continue
      ;;
    '')
      echo "note    $name cannot run on $host"
      continue
      ;;
  esac
  before=("$passed" "$failed" "$skipped")
  run_scenario "$name"
  if [[ $again == yes && $failed -gt ${before[1]} ]]; then
    echo "note    $name failed; only the second attempt counts. Logs of the first attempt: $out/$name.first"
    rm -rf "$out/$name.first"
    mv "$out/$name" "$out/$name.first"
    passed=${before[0]} failed=${before[1]} skipped=${before[2]}
    run_scenario "$name"
  fi
done
echo
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
