# bash completion for all xenpv programs, installed under the name of each program. It asks the
# program for its commands and options, so it is always up to date.

_xenpv() {
  local program=$1 current=$2 word
  local -a path=()

  # The words after "--" are the command line of another program.
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      COMPREPLY=()
      compopt -o default
      return
    fi
    # A word that is not a subcommand is an option or its value.
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
