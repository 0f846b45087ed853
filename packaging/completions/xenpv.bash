# bash completion for all xenpv programs, installed under the name of each program. It asks the
# program which words may follow (PROGRAM --complete WORD...), so it is always up to date.

_xenpv() {
  local -a call=("$1") words=() reply
  local current=$2 i word joined=''

  # bash splits words at "=" and ":", of which the programs know nothing.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- && $i -lt $COMP_CWORD && $joined == '' ]]; then
      # The command line of another program.
      if declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      elif ((i + 1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
      else
        compopt -o default
      fi
      return
    fi
    if [[ $word == [=:] && ${#words[@]} -gt 0 ]]; then
      words[-1]+=$word joined=yes
    elif [[ $joined ]]; then
      words[-1]+=$word joined=''
    else
      words+=("$word")
    fi
  done
  # Cursor within a word: complete the part before it.
  [[ $joined ]] || words[-1]=${words[-1]%"${COMP_WORDS[COMP_CWORD]}"}$current
  # The name of a program within the multi-call program.
  if [[ ${1##*/} == xenpv && ${#words[@]} -gt 1 && ${words[0]} != -* ]]; then
    call+=("${words[0]}")
    words=("${words[@]:1}")
  fi

  mapfile -t reply < <("${call[@]}" --complete "${words[@]}" 2>/dev/null)
  case ${reply[0]-} in
    files)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "${current#=}")
      ;;
    directories)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "${current#=}")
      ;;
    words)
      # Without descriptions, and without the part of the word that bash regards as another one.
      local known=${words[-1]%"${current#[=:]}"}
      COMPREPLY=("${reply[@]:1}")
      COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
      COMPREPLY=("${COMPREPLY[@]#"$known"}")
      ;;
  esac
}

complete -F _xenpv xenpv xenpv-disk xenpv-evtchn xenpv-timer xenpv-ipi xenpv-doctor xenpv-sim
