#!/usr/bin/env python3
"""Checks the include rules between rooms (folders of lib/), and a few text rules.

Usage: check_layering.py TREE. Prints one line for each violation; exit status 1 if there is any.
An exception to a rule is an entry with its reason in one of the tables below, so that reviewers see it.
"""

import re
import sys
from pathlib import Path

# What each room may include in addition to its own files. "asio" stands for <boost/asio...>, "xen"
# for the room, "xen.h" for Xen's own headers, "cli11" for <CLI/...>, and "openssl" for
# <openssl/...>, which is not allowed in public headers.
ROOMS = {
    "base": set(),
    "wire": {"base"},
    "sandbox": {"base"},
    "xen": {"base", "wire", "xen.h"},
    "ring": {"base", "wire"},
    "async": {"base", "wire", "xen", "asio"},
    "blk": {"base", "wire", "async", "asio"},
    "blkfront": {"base", "wire", "ring", "blk", "async", "xen", "asio"},
    "blkback": {"base", "wire", "ring", "blk", "async", "xen", "asio"},
    "nbd": {"base", "wire", "blk", "async", "asio", "openssl"},
    "ublk": {"base", "blk", "async", "asio"},
    "channels": {"base", "wire", "async", "xen", "asio"},
    "probe": {"base", "async", "xen", "channels", "asio"},
    "doctor": {"base", "wire", "async", "xen", "channels", "probe", "asio"},
    "sim": {"base", "wire", "xen.h"},
    "cli": {"base", "cli11"},
}

# What single files may include in addition, with the reason.
ALSO_MAY = {
    "lib/xen/custodian_main.cpp": {"sandbox"},  # the program, which confines itself; not part of the library
}

# State machines that are tested without I/O: they include neither Asio nor Xen, and only pure units of
# their room.
PURE = re.compile(r"^(ring/.*|[a-z]+/(handshake|planner)[a-z_]*|nbd/(codec|negotiation)[a-z_]*|nbd/(admission|tls_mode|psk_file|access_list|peer_address|exposure)|"
                  r"blkfront/(connection_loss|connection_machine|transport|sector_guard|coalescing|flush_ledger)|"
                  r"ublk/command|blk/(disk_signature|gpt|little_endian|mbr|partition_scan|partition_table)|"
                  r"blkback/(personality|nodes|disk_(config|fault|plan)|backend_nodes|frontend_keys)|"
                  r"channels/(interrupts|channel_kind|rates)|"
                  r"probe/(heat_map|heat_scale|heat_text|periods|probe_verdict|trace_split|latency_figures|"
                  r"charts|markup)|doctor/check_result)$")
PURE_MAY = {"base", "wire"}

# State machines that move requests: they do not include Asio or Xen either, but may include the
# ring and blk's plain types.
REQUEST_MACHINES = re.compile(r"^blkfront/(engine(_[a-z]+)?|sector_merger|write_gate|request_(list|data|queue)|journal)$|^ublk/(parameters|translation)$")
REQUEST_TYPES = re.compile(r"^(blk/(request|page_pool)|blkfront/statistics)$")

# Headers in lib/ that other rooms may include where the table above allows it. All other headers in
# lib/ are only for their own room, the apps and the tests.
SHARED_HEADERS = re.compile(r"^(async/(blocking_calls_thread|event_batch|nursery|signal)|base/.*|wire/.*|sandbox/.*|xen/(cpuid|port_status|resume_watch|runstate)|blk/(clock|uring_device)|"
                            r"channels/.*|probe/.*)$")

# Apps that may use Asio directly, with the reason.
ASIO_APPS = {
    "apps/xenpv-disk/": "a coroutine for each thing that can end a server: signals, a child, the status socket",
}

# Files that may share state between threads. Elsewhere, every object has one owner and does not
# need a lock.
SHARED_STATE = re.compile(r"\bstd::(mutex|shared_mutex|recursive_mutex|condition_variable|atomic)\w*")
SHARED_STATE_MAY = {
    "lib/ublk/queue_ring": "the flags of a ring that it shares with the kernel",
    "include/xenpv/async/": "hands work between the threads of the pool",
    "lib/async/": "hands work between the threads of the pool",
    "lib/blkfront/flush_ledger": "a flush on one queue covers the writes answered on all of them",
    "lib/blkfront/sector_locks": "counts the queues that have raised a fence",
    "include/xenpv/ring/": "indices in memory shared with another domain",
    "lib/ring/": "indices in memory shared with another domain",
    "lib/probe/measuring_thread": "stops the measuring threads",
    "lib/probe/live_figures": "shows a running measurement without delaying its threads",
    "lib/probe/ipi_run": "measures two threads that wake each other",
    "lib/sandbox/": "capabilities, Landlock and seccomp apply to threads, and signal handlers report",
    "lib/sim/": "the memory its processes share stands for the hypervisor",
    "apps/xenpv-disk/": "a coroutine for each thing that can end a server: signals, a child, the status socket",
    "apps/xenpv-sim/ping": "a page shared with another domain",
    "lib/base/log": "one log for all threads",
    "lib/nbd/memory_budget": "one budget for the connections of all threads",
    "lib/nbd/device_scheduler": "the queues of a device share its backend",
    "lib/xen/custodian": "one custodian for all threads",
    "include/xenpv/xen/suspend_clock": "read by the threads of all loops, settled by one",
}

# A detached coroutine loses its errors.
DETACHED = re.compile(r"\bdetached\b")

# Shutdown is "run until work runs out"; stop() abandons coroutines half-way.
CONTEXT_STOP = re.compile(r"\b\w*(context|ctx|ioc)\w*\s*(\(\))?\s*(\.|->)\s*stop\s*\(")
CONTEXT_STOP_MAY = {}

# Phrases in comments and messages that should be replaced by the field's own terms
# (packaging/CONTRIBUTING.md).
PHRASES = re.compile(r"\b(whoever|what(ever)? (is|was) with|lets? go of|so to speak|all the same|say(s|ing)? goodbye|"
                     r"is all well|habits?|patience|take(s|n)? (its|his|their) leave|from what there is|"
                     r"by and by|at one go|in one go|is told of|who wants)\b", re.IGNORECASE)

# Definitions in unnamed namespaces: a type's name, a function's name and parameters, or a variable's name.
# Relies on the format: only what is at namespace scope begins in the first column.
NAMED = re.compile(r"^namespace ([\w:]+) \{$", re.MULTILINE)
UNNAMED = re.compile(r"^namespace \{$(.*?)^\}  // namespace$", re.MULTILINE | re.DOTALL)
TEMPLATE = re.compile(r"^template <.*>\n", re.MULTILINE)
DEFINITION = re.compile(r"^(?![ }#]|using |namespace |extern )(?:(?:enum class|enum|struct|class) (\w+)[^;({]*\{|"
                        r"[\w:<>,*&\[\] ]*?(?<![:\w])(\w+)\(([^{;]*?)\)[^{;()]*\{|"
                        r"[\w:<>,*&\[\] ]+[ *&](\w+)(?:\[[^\]\n]*\])*(?: =|\{|;))", re.MULTILINE)
# The folders whose sources unity builds compile in batches, and the sources that they leave out.
UNITY_FOLDER = re.compile(r"(?:lib|tests/unit|apps(?!/examples))/[\w-]+(?=/)")
LEFT_OUT = re.compile(r"set_source_files_properties\(([^)]*?)\sPROPERTIES\s[^)]*SKIP_UNITY_BUILD_INCLUSION")

SOURCE_LINES = 500
HEADER_LINES = 300
LONG_FILES = {}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def room_of(path):
    """Returns the room of a source below lib/ or include/xenpv/, otherwise None."""
    parts = path.split("/")
    if parts[0] == "lib" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ["include", "xenpv"] and len(parts) > 3:
        return parts[2]
    return None


def unit_of(path):
    """Returns "nbd/codec" for lib/nbd/codec.cpp and include/xenpv/nbd/codec.hpp."""
    name = path.removeprefix("include/xenpv/").removeprefix("lib/").removeprefix("xenpv/")
    return name.rsplit(".", 1)[0]


def kind_of(header):
    """Classifies a header: a key of ROOMS, "asio", "xen.h", "cli11", "openssl", or None."""
    if header.startswith("xenpv/"):
        return header.split("/")[1]
    if re.match(r"boost/asio(/|\.hpp)", header):
        return "asio"
    if re.match(r"xen[a-z_]*\.h$|xen/.*\.h$", header):
        return "xen.h"
    if header.startswith("CLI/"):
        return "cli11"
    if header.startswith("openssl/"):
        return "openssl"
    first = header.split("/")[0]
    return first if "/" in header and first in ROOMS else None


def is_private(quote, header):
    return quote == '"' and not header.startswith("xenpv/") and header.split("/")[0] in ROOMS


def check_room(path, room, includes):
    if room not in ROOMS:
        yield f"room '{room}' is not in the table of rooms"
        return
    pure = PURE.match(unit_of(path)) is not None
    moves_requests = REQUEST_MACHINES.match(unit_of(path)) is not None
    for quote, header in includes:
        kind = kind_of(header)
        unit = unit_of(header)
        if moves_requests and kind is not None and kind not in {"base", "wire", "ring"}:
            if not any(pattern.match(unit) for pattern in (PURE, REQUEST_MACHINES, REQUEST_TYPES)):
                yield f"a machine that moves requests may not include {header}"
        if kind is None:
            continue
        if kind == room:
            if pure and not PURE.match(unit_of(header)):
                yield f"a pure machine includes {header}, which is not pure"
        elif kind not in (PURE_MAY if pure else ROOMS[room] | ALSO_MAY.get(path, set())):
            subject = "a pure machine" if pure else f"room '{room}'"
            yield f"{subject} may not include {header}"
        elif kind == "openssl" and path.startswith("include/"):
            yield f"a public header may not include {header}"
        elif is_private(quote, header) and not SHARED_HEADERS.match(unit):
            yield f"{header} is private to room '{kind}'"


def check_public(path, includes):
    if not path.startswith("include/"):
        return
    for quote, header in includes:
        if quote == '"' and not header.startswith("xenpv/"):
            yield f"a public header may not include {header}, which is not installed"


def check_app(path, includes):
    for _, header in includes:
        kind = kind_of(header)
        if kind == "asio" and listed(path, ASIO_APPS):
            continue
        if kind in ("asio", "xen.h", "cli11", "openssl"):
            yield f"an app may not include {header}; use the interfaces of the rooms"


def listed(path, table):
    return any(path.startswith(prefix) for prefix in table)


def check_words(path, code):
    for line in code.split("\n"):
        if DETACHED.search(line):
            yield "'detached' loses errors; spawn the coroutine into a nursery"
        if CONTEXT_STOP.search(line) and not listed(path, CONTEXT_STOP_MAY):
            yield "io_context::stop() abandons coroutines half-way; cancel, join and run dry"
        match = SHARED_STATE.search(line)
        if match and not listed(path, SHARED_STATE_MAY):
            yield f"{match.group(0)} in a file that may not share state between threads"


def check_phrases(path, text):
    for match in COMMENT_OR_STRING.finditer(text):
        found = PHRASES.search(match.group(0))
        if found:
            line = text.count("\n", 0, match.start() + found.start()) + 1
            yield f"line {line}: '{found.group(0)}' is not plain technical English"


def check_size(path, text):
    limit = HEADER_LINES if path.endswith(".hpp") else SOURCE_LINES
    lines = text.count("\n")
    if lines > limit and path not in LONG_FILES:
        yield f"{lines} lines, more than {limit}: split it by concern"


def definitions(text):
    """Yields (namespace, name, parameters) of the names in unnamed namespaces; only functions have parameters."""
    for part in UNNAMED.finditer(text):
        outer = tuple(NAMED.findall(text, 0, part.start()))
        code = TEMPLATE.sub("", COMMENT_OR_STRING.sub("", part.group(1)))
        for kind, function, parameters, variable in DEFINITION.findall(code):
            if not function.isupper():  # a macro, such as TEST
                yield outer, kind or function or variable, " ".join(parameters.split()) if function else None


def check_unity(sources):
    """Finds names that clash if a unity build compiles sources of one folder together. `sources` maps paths to
    texts. Two functions clash only if the texts of their parameters are equal."""
    seen = {}
    for path, text in sources.items():
        folder = UNITY_FOLDER.match(path) if path.endswith(".cpp") else None
        for scope, name, parameters in definitions(text) if folder else ():
            entries = seen.setdefault((folder.group(0), scope, name), [])
            for other, known in entries:
                if other != path and (None in (parameters, known) or parameters == known):
                    yield f"{path}: a unity build would define '{name}' twice: it is also in {other}"
            entries.append((path, parameters))


def left_out(top):
    """Returns the sources that are excluded from unity builds."""
    return {file.parent / name for file in top.glob("[lt]*/**/CMakeLists.txt")
            for names in LEFT_OUT.findall(file.read_text(encoding="utf-8")) for name in names.split()}


def check_file(path, text):
    """Returns all violations in one file. `path` is relative to the top and uses '/'."""
    # Keeps the line breaks, because some rules look at single lines.
    code = COMMENT_OR_STRING.sub(lambda m: "\n" * m.group(0).count("\n"), text)
    includes = INCLUDE.findall(text)
    room = room_of(path)
    if room is not None:
        yield from check_room(path, room, includes)
        yield from check_public(path, includes)
        yield from check_words(path, code)
        yield from check_phrases(path, text)
    elif path.startswith("apps/examples/"):
        # Examples build on the installed package: they may use Asio, but not lib/.
        for quote, header in includes:
            if quote == '"':
                yield f"an example may not include {header}, which is not installed"
    elif path.startswith("apps/"):
        yield from check_app(path, includes)
        yield from check_words(path, code)
        yield from check_phrases(path, text)
    yield from check_size(path, text)


def check_tree(top):
    """Returns a tree's violations as "path: message" lines, and the number of files checked."""
    violations = []
    count = 0
    sources = {}
    for folder in ("include", "lib", "apps", "tests"):
        for file in sorted((top / folder).rglob("*")):
            if file.suffix not in (".hpp", ".cpp", ".h", ".c") or not file.is_file():
                continue
            count += 1
            path = file.relative_to(top).as_posix()
            text = file.read_text(encoding="utf-8")
            violations += [f"{path}: {message}" for message in check_file(path, text)]
            sources[path] = text
    for file in left_out(top):
        sources.pop(file.relative_to(top).as_posix(), None)
    return violations + list(check_unity(sources)), count


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_layering.py TREE")
    violations, count = check_tree(Path(sys.argv[1]))
    if count == 0:
        sys.exit(f"check_layering.py: {sys.argv[1]}: no sources found")
    for line in violations:
        print(line)
    print(f"{count} files, {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
