"""Looks for bytes in the memory of another process."""
import os
import signal

CHUNK = 8 << 20
UNREADABLE = ("[vvar]", "[vvar_vclock]", "[vsyscall]")


def regions(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, mode, _, _, _, *name = line.split(maxsplit=5)
            if mode.startswith("r") and (name[0].strip() if name else "") not in UNREADABLE:
                start, end = (int(part, 16) for part in span.split("-"))
                yield start, end, name[0].strip() if name else ""


def scan(pid, needles):
    """Which of the needles {name: bytes} are in the memory of the process, and where: {name: [region, ...]}. The process
    is halted meanwhile, so that nothing moves past us."""
    longest = max(map(len, needles.values()))
    found = {}
    os.kill(pid, signal.SIGSTOP)
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for start, end, region in regions(pid):
                at = start
                while at < end:
                    try:
                        memory.seek(at)
                        piece = memory.read(min(CHUNK + longest, end - at))
                    except (OSError, ValueError):
                        break  # a hole: a file's mapping beyond its end
                    for name, needle in needles.items():
                        place = piece.find(needle)
                        if place >= 0:  # one of each kind and piece is enough
                            found.setdefault(name, []).append(f"{region or 'anonymous'} at {at + place:x}")
                    at += CHUNK
    finally:
        os.kill(pid, signal.SIGCONT)
    return found
