"""completions.py bash|zsh|fish SCRIPTS: completes command lines of the xenpv programs in a shell, for completions.sh."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time

LIMIT = 60  # seconds until a missing output is a failure, on a busy machine

# What is typed before the tab key, and the words that are then on the command line.
LINES = [
    ("xenpv-disk relo", "xenpv-disk reload"),
    ("xenpv-disk serve --tls-p", "xenpv-disk serve --tls-psk"),
    ("xenpv-disk --log-level de", "xenpv-disk --log-level debug"),
    ("xenpv-disk --log=js", "xenpv-disk --log=json"),
    ("xenpv-disk serve xv", "xenpv-disk serve xvdb"),
    ("xenpv-disk serve xvdb --tls-psk ke", "xenpv-disk serve xvdb --tls-psk keys.psk"),
    ("xenpv-disk serve xvdb --tls-psk=ke", "xenpv-disk serve xvdb --tls-psk=keys.psk"),
    ("xenpv-disk --log json bench --load randr", "xenpv-disk --log json bench --load randread"),
    ("xenpv-sim exec --domain gue", "xenpv-sim exec --domain guest-1"),
    ("xenpv-sim domain cre", "xenpv-sim domain create"),
    ("xenpv-sim disk resize xv", "xenpv-sim disk resize xvdb"),
    ("xenpv-sim exec --dir fol", "xenpv-sim exec --dir folder"),
    ("xenpv-sim run -- python3 --versio", "xenpv-sim run -- python3 --versio"),
    ("xenpv-sim run -- realpat", "xenpv-sim run -- realpath"),
    ("xenpv disk relo", "xenpv disk reload"),
    ("xenpv-disk nonsense", "xenpv-disk nonsense"),
]


class Terminal:
    """A shell on a pseudo-terminal."""

    def __init__(self, command):
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.environ.update(TERM="dumb", EDITOR="emacs", PS1="", PROMPT="")
            os.chdir(os.environ["HOME"])
            os.execvp(command[0], command)
        self.text = ""

    def read_until(self, mark):
        limit = time.monotonic() + LIMIT
        while mark not in self.text:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                raise AssertionError("no %r in %r" % (mark, self.text))
            self.text += os.read(self.descriptor, 4096).decode(errors="replace")
        before, _, self.text = self.text.partition(mark)
        return before

    def run(self, line, mark):
        # The echo of the line contains the mark in two parts.
        os.write(self.descriptor, ("%s; printf '%%s\\n' '%s''%s'\r" % (line, mark[:2], mark[2:])).encode())
        return self.read_until(mark)

    def complete(self, typed):
        """Returns the words on the command line after the tab key: puts a command in front that prints them."""
        begin, end = "\x01", "\x05"
        os.write(self.descriptor, (typed + "\t" + begin + "printf '<%s>' " + end + " END\r").encode())
        output = self.read_until("<END>")
        return output[output.rindex("<xenpv"):].strip("<>").split("><")


def in_terminal(command, setup):
    terminal = Terminal(command)
    terminal.run(setup, "READY")
    return terminal.complete


def in_fish(script):
    def complete(typed):
        words = subprocess.run(["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, typed],
                               stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT,
                               cwd=os.environ["HOME"]).stdout.splitlines()
        kept = typed.split(" ")
        # fish inserts a word if it is the only one.
        if len(words) == 1:
            kept[-1] = words[0].split("\t")[0]
        return kept

    return complete


def main():
    shell, scripts = sys.argv[1:]
    if shell == "bash":
        complete = in_terminal(["bash", "--norc", "--noprofile", "-i"],
                               "bind 'set bell-style none'; source '%s/xenpv.bash'" % scripts)
    elif shell == "zsh":
        complete = in_terminal(["zsh", "-f", "-i"],
                               "unsetopt beep; fpath=('%s' $fpath); autoload -Uz compinit; compinit -u -D" % scripts)
    else:
        complete = in_fish(scripts + "/xenpv.fish")
    # Only complete builds have the multi-call program.
    lines = [line for line in LINES if not line[0].startswith("xenpv ") or shutil.which("xenpv")]
    for typed, expected in lines:
        # zsh removes the slash after a directory when the cursor leaves it.
        words = [word.rstrip("/") for word in complete(typed)]
        assert words == expected.split(" "), "%s: %r became %r, not %r" % (shell, typed, words, expected)
    print("%d checks passed" % len(lines))


main()
