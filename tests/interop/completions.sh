#!/usr/bin/env bash
# completions.sh XENPV_SIM XENPV_DISK bash|zsh|fish: types command lines in a shell and completes them with the
# installed scripts. The shell runs in a guest, so that there are a disk and domains to complete.
. "$(dirname "$0")/check.sh"
shell=$3
requires "$shell" python3
here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../packaging/completions
mkdir "$dir/home" "$dir/home/folder"
touch "$dir/home/keys.psk"
"$sim" run --disk xvdb,memory=1M -- env PATH="$(dirname "$sim"):$(dirname "$2"):/usr/bin:/bin" HOME="$dir/home" \
  python3 "$here/completions.py" "$shell" "$scripts"
