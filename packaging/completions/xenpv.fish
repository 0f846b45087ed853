# fish completion for all xenpv programs, installed under the name of each program. It asks the
# program which words may follow (PROGRAM --complete WORD...), so it is always up to date.

# __xenpv_paths FUNCTION WORD: completes the path in WORD, which may be --option=PATH.
function __xenpv_paths
    if set -l parts (string match -r -- '^(--[^=]*=)(.*)$' $argv[2])
        for found in ($argv[1] $parts[3])
            echo $parts[2]$found
        end
    else
        $argv[1] $argv[2]
    end
end

function __xenpv_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l call $words[1]
    set -e words[1]

    # The command line of another program.
    if set -l mark (contains -i -- -- $words)
        __fish_complete_subcommand --fcs-skip=(math $mark + 1)
        return
    end
    # The name of a program within the multi-call program.
    if string match -qr '(^|/)xenpv$' -- $call[1]; and set -q words[1]; and not string match -q -- '-*' $words[1]
        set -a call $words[1]
        set -e words[1]
    end

    set -l reply ($call --complete $words "$current" 2>/dev/null)
    switch "$reply[1]"
        case files
            __xenpv_paths __fish_complete_path "$current"
        case directories
            __xenpv_paths __fish_complete_directories "$current"
        case words
            # Each line is a word and, after a tab, its description, as fish expects.
            for line in $reply[2..-1]
                echo $line
            end
    end
end

for program in xenpv xenpv-disk xenpv-evtchn xenpv-timer xenpv-ipi xenpv-doctor xenpv-sim
    complete -c $program -f -a '(__xenpv_complete)'
end
