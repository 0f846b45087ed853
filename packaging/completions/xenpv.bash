# bash completion for all xenpv programs. It holds no lists: it asks the program itself, so it is never
# out of date. Installed once under each program's name.

_xenpv() {
  local program=$1 current=$2 word
  local -a path=()

  # After "--" comes another program's command line.
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      COMPREPLY=()
      compopt -o default
      return
    fi
    # Only words that are commands here lead on; the others are options and their values.
    if "$program" "${path[@]}" --subcommands 2>/dev/null | grep -qxF -- "$word"; then
      path+=("$word")
    fi
  done

  local list=--subcommands
  case $current in
    --*) list=--long-options ;;
    -*) list='--long-options --short-options' ;;
  esac
  local words='' kind
  for kind in $list; do
    words+=$("$program" "${path[@]}" "$kind" 2>/dev/null)$'\n'
  done
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
}

complete -F _xenpv xenpv-disk xenpv-evtchn xenpv-timer xenpv-ipi xenpv-doctor xenpv-sim
