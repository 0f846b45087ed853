#!/usr/bin/env python3
"""partition_tables.py PARTITION_DUMP [SEED]: compares xenpv's partition tables with those of other programs.

Lets sfdisk, fdisk (for sectors of 4096 bytes), sgdisk and parted make random partition tables in sparse images,
and compares what these programs list with what partition_dump reads. Exit status 77 if sfdisk or fdisk is not
installed; the other two are optional.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

LAYOUTS = 25  # per kind of table and sector size
MBR_TYPES = ["83", "82", "8e", "7", "c", "ef", "fd", "a5"]
GPT_TYPES = ["0FC63DAF-8483-4772-8E79-3D69D8477DE4", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
             "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
             "01234567-89AB-CDEF-0123-456789ABCDEF"]
NAMES = ["", "root", "EFI System", "größe", "数据", "a,b;c", "x" * 36, "\U0001F4BE disk"]

dump = sys.argv[1]
checks = 0


def fail(what, *details):
    print(f"FAILED: {what}", *details, sep="\n")
    sys.exit(1)


def check(what, expected, actual):
    global checks
    checks += 1
    if expected != actual:
        fail(what, f"expected: {expected}", f"actual:   {actual}")


def run(*command, stdin=""):
    # A fixed locale: fdisk's answers are questions that the script answers.
    env = dict(os.environ, LC_ALL="C.UTF-8")
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=60)
    if done.returncode != 0:
        fail(f"{' '.join(command)} ended with {done.returncode}", stdin, done.stdout, done.stderr)
    return done.stdout


def make_image(path, sectors, sector_size):
    with open(path, "wb") as image:
        image.truncate(sectors * sector_size)


def spans(rng, first, last, count):
    """Returns `count` ranges (start, size) in ascending order within [first, last], with and without gaps."""
    cuts = sorted(rng.sample(range(first, last), 2 * count))
    if rng.random() < 0.3:  # adjacent partitions
        cuts = [first] + [cut for cut in cuts[1:-1:2] for _ in range(2)] + [last]
    return [(start, end - start) for start, end in zip(cuts[::2], cuts[1::2]) if end > start]


def gpt_script(rng, sectors, reserved):
    count = rng.choice([1, 2, 3, 8, 20, 100])
    numbers = sorted(rng.sample(range(1, 129), count))
    ranges = spans(rng, reserved, sectors - reserved, count)
    lines = ["label: gpt", "unit: sectors", f"first-lba: {reserved}"]
    for number, (start, size) in zip(numbers, rng.sample(ranges, len(ranges))):
        name = rng.choice(NAMES)
        lines.append(f"img{number} : start={start}, size={size}, type={rng.choice(GPT_TYPES)}, name=\"{name}\"")
    return "\n".join(lines) + "\n"


def mbr_script(rng, sectors):
    lines = ["label: dos", "unit: sectors"]
    slots = sorted(rng.sample(range(1, 5), rng.randint(1, 4)))
    extended = rng.choice(slots + [None])
    for slot, (start, size) in zip(slots, spans(rng, 2048, sectors, len(slots))):
        if slot != extended or size < 200:
            lines.append(f"img{slot} : start={start}, size={size}, type={rng.choice(MBR_TYPES)}")
            continue
        lines.append(f"img{slot} : start={start}, size={size}, type={rng.choice(['5', 'f', '85'])}")
        # Each logical partition needs a free sector in front of it, for its EBR.
        position = start
        for number in range(5, 5 + rng.choice([0, 1, 2, 5, 30])):
            gap, length = rng.randint(1, 64), rng.randint(1, max(2, size // 20))
            if position + gap + length > start + size:
                break
            lines.append(f"img{number} : start={position + gap}, size={length}, type={rng.choice(MBR_TYPES)}")
            position += gap + length
    return "\n".join(lines) + "\n"


def write_table(image, script, sector_size):
    if sector_size == 512:
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", image, stdin=script)
        return
    path = image + ".script"
    with open(path, "w", encoding="utf-8") as out:
        out.write(script)
    run("fdisk", "-b", str(sector_size), image, stdin=f"I\n{path}\nw\n")


def unescape(name):
    r"""Decodes the \xNN of a dump."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode()).decode()


def listed(image, sector_size):
    """Returns what sfdisk or fdisk lists: {number: (start, size, type, name)}."""
    if sector_size == 512:
        table = json.loads(run("sfdisk", "--json", image))["partitiontable"]
        return {int(one["node"].removeprefix(image)): (one["start"], one["size"], one["type"], one.get("name", ""))
                for one in table.get("partitions", [])}
    path = image + ".dump"
    if os.path.exists(path):
        os.unlink(path)
    run("fdisk", "-b", str(sector_size), image, stdin=f"O\n{path}\nq\n")
    found = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            match = re.match(r"\S*?(\d+) : start= *(\d+), size= *(\d+), type=([\w-]+)(.*)", line)
            if match:
                name = re.search(r'name="(.*?)"(?:,|$)', match[5])
                found[int(match[1])] = (int(match[2]), int(match[3]), match[4],
                                        unescape(name[1]) if name else "")
    return found


def ours(image, sector_size):
    table = json.loads(run(dump, image, str(sector_size)))
    return table, {one["number"]: (one["start"], one["size"], one["type"], one["name"])
                   for one in table["partitions"]}


def without_problems(what, table):
    problems = {one["problem"] for one in table["partitions"] if one["type"] not in ("5", "f", "85")}
    check(f"{what}: no partition has a problem", {""}, problems | {""})
    check(f"{what}: no warnings", [], table["warnings"])


def compare_random_tables(folder, rng, kind, sector_size):
    for round_number in range(LAYOUTS):
        sectors = rng.randint(20_000, 4_000_000)
        image = os.path.join(folder, "img")
        make_image(image, sectors, sector_size)
        script = gpt_script(rng, sectors, rng.choice([34, 2048])) if kind == "GPT" else mbr_script(rng, sectors)
        write_table(image, script, sector_size)
        what = f"{kind} {round_number}, sectors of {sector_size} bytes\n{script}"
        theirs = listed(image, sector_size)
        table, mine = ours(image, sector_size)
        check(f"{what}: kind", kind, table["label"])
        check(f"{what}: has partitions", True, bool(theirs))
        check(f"{what}: partitions", theirs, mine)
        without_problems(what, table)


def compare_damaged_headers(folder, rng):
    """Damages one copy of a GPT: sfdisk repairs the table in memory from the other, and so does xenpv."""
    for round_number in range(10):
        sectors = rng.randint(20_000, 200_000)
        image = os.path.join(folder, "img")
        make_image(image, sectors, 512)
        write_table(image, gpt_script(rng, sectors, 2048), 512)
        theirs = listed(image, 512)
        for sector, warnings in ((1, 1), (2, 1), (sectors - 1, 0)):
            shutil.copy(image, image + ".damaged")
            with open(image + ".damaged", "r+b") as out:
                out.seek(sector * 512 + rng.randrange(92))
                byte = out.read(1)[0]
                out.seek(-1, os.SEEK_CUR)
                out.write(bytes([byte ^ 1 << rng.randrange(8)]))
            table, mine = ours(image + ".damaged", 512)
            check(f"damage {round_number} in sector {sector}: partitions", theirs, mine)
            check(f"damage {round_number} in sector {sector}: warnings", warnings, len(table["warnings"]))


def compare_sgdisk(folder, rng):
    for round_number in range(10):
        sectors = rng.randint(20_000, 200_000)
        image = os.path.join(folder, "img")
        make_image(image, sectors, 512)
        ranges = spans(rng, 2048, sectors - 2048, rng.randint(1, 10))
        entries = rng.choice([128, 256, 1024])
        arguments = ["-a", "1", "-S", str(entries)]
        for number, (start, size) in enumerate(ranges, 1):
            arguments += ["-n", f"{number}:{start}:{start + size - 1}", "-c", f"{number}:part {number}"]
        run("sgdisk", *arguments, image)
        table, mine = ours(image, 512)
        check(f"sgdisk {round_number}: partitions",
              {number: (start, size, GPT_TYPES[0], f"part {number}") for number, (start, size) in enumerate(ranges, 1)},
              mine)
        without_problems(f"sgdisk {round_number}", table)
    # A hybrid MBR: partitions of the GPT also appear in the MBR.
    run("sgdisk", "-h", "1", image)
    table, again = ours(image, 512)
    check("sgdisk, hybrid MBR: partitions", mine, again)
    check("sgdisk, hybrid MBR: warnings", 1, len(table["warnings"]))


def compare_parted(folder, rng):
    for label, kind in (("gpt", "GPT"), ("msdos", "MBR")):
        for round_number in range(5):
            sectors = rng.randint(20_000, 200_000)
            image = os.path.join(folder, "img")
            make_image(image, sectors, 512)
            command = ["parted", "-s", "-a", "none", image, "unit", "s", "mklabel", label]
            for start, size in spans(rng, 2048, sectors - 2048, rng.randint(1, 4)):
                command += ["mkpart", "primary", f"{start}s", f"{start + size - 1}s"]
            run(*command)
            theirs = {}
            for line in run("parted", "-s", "-m", image, "unit", "s", "print").splitlines():
                match = re.match(r"(\d+):(\d+)s:\d+s:(\d+)s:", line)
                if match:
                    theirs[int(match[1])] = (int(match[2]), int(match[3]))
            table, mine = ours(image, 512)
            check(f"parted {label} {round_number}: kind", kind, table["label"])
            check(f"parted {label} {round_number}: partitions", theirs, {n: one[:2] for n, one in mine.items()})


def compare_file_systems(folder):
    """A disk with a file system in place of a table: the message names it."""
    makers = {"ext4": ["mkfs.ext4", "-q"], "XFS": ["mkfs.xfs", "-q", "-f"], "Btrfs": ["mkfs.btrfs", "-q"],
              "FAT": ["mkfs.fat"], "NTFS": ["mkfs.ntfs", "-Q", "-F"]}
    for name, command in makers.items():
        if shutil.which(command[0]) is None:
            continue
        image = os.path.join(folder, "fs")
        make_image(image, 800_000, 512)
        run(*command, image)
        done = subprocess.run([dump, image, "512"], capture_output=True, text=True, timeout=60)
        check(f"{name} on the whole disk: exit status", 1, done.returncode)
        if f"it holds an {name}" not in done.stderr and f"it holds a {name}" not in done.stderr:
            fail(f"{name} on the whole disk", done.stderr)


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("sfdisk", "fdisk"):
        if shutil.which(program) is None:
            print(f"skipped: {program} is not installed")
            sys.exit(77)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="xenpv-interop-") as folder:
        for kind in ("GPT", "MBR"):
            for sector_size in (512, 4096):
                compare_random_tables(folder, random.Random(seed), kind, sector_size)
        compare_damaged_headers(folder, random.Random(seed))
        if shutil.which("sgdisk"):
            compare_sgdisk(folder, random.Random(seed))
        if shutil.which("parted"):
            compare_parted(folder, random.Random(seed))
        compare_file_systems(folder)
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main()
