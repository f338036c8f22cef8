#!/usr/bin/env python3
"""Who may include whom: docs/ARCHITECTURE.md.

Checks, on every .c and .h that git knows (or that lies in a room):
  1. includes of our own files are rooted at the repository: "room/file.h";
  2. a room includes only the rooms it may know, and of those the public header only;
  3. a third-party header appears in the rooms that own it only;
  4. a room's public header shows no third-party header but those of the common language (generated messages);
  5. every header compiles alone.

Usage: includes.py [--generated DIR]    DIR: where the build put twokey/v1/*.pb-c.h; without it 5 is left out.
Prints file:line: what is wrong; exit code 1 when anything is.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

MIDDLE = {"hsm", "policy", "audit", "s3client", "identity", "rpc", "transaction", "seal"}
# Room -> the rooms it may know.
MAY_KNOW = {
    "common": set(),
    "proto": set(),
    "hsm": {"common"},
    "policy": {"common"},
    "audit": {"common"},
    "s3client": {"common"},
    "identity": {"common"},
    "rpc": {"common", "proto"},
    "transaction": {"common", "hsm"},
    "seal": {"common", "hsm"},
    "server": {"common", "proto"} | MIDDLE,
    "cli": {"common", "proto", "server"} | MIDDLE,
    # Tests and measurements may look inside.
    "tests": None,
    "bench": None,
}
# Rooms whose every header is public.
ALL_PUBLIC = {"common", "proto", "server"}
# Generated headers, by who may speak those messages.
GENERATED = {
    "twokey/v1/": {"audit", "transaction", "server", "cli"},
    "grpc/health/": {"rpc", "cli"},
    "grpc/": {"rpc"},
    "google/": {"common", "audit", "transaction", "rpc", "server", "cli"},
}
# Third-party headers, by the rooms that own them. A prefix ending in / is a folder.
OWNERS = {
    "p11-kit/": {"hsm"},
    "pkcs11.h": {"hsm"},
    "maxminddb.h": {"policy"},
    "glib.h": {"policy"},
    "sqlite3.h": {"audit"},
    "libpq-fe.h": {"audit"},
    "zlib.h": {"audit"},
    "curl/": {"s3client"},
    "expat.h": {"s3client"},
    "grpc/": {"rpc", "cli"},
    "microhttpd.h": {"rpc"},
    "gnutls/": {"rpc"},
    "openssl/engine.h": {"rpc"},
    "yaml.h": {"common"},
    "cjose/": {"identity"},
    "jansson.h": {"s3client", "identity", "transaction", "rpc", "server", "cli"},
    "protobuf-c/": {"common", "audit", "transaction", "rpc", "server", "cli"},
    "openssl/": {"common", "hsm", "audit", "s3client", "identity", "transaction", "seal", "rpc", "server", "cli"},
    "cmocka.h": set(),
}
# What public headers may show of third parties: the generated messages need protobuf-c.
PUBLIC_MAY_SHOW = ("protobuf-c/",)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
PACKAGES = "libcrypto yaml-0.1 libprotobuf-c p11-kit-1 sqlite3 zlib libcurl expat jansson cjose grpc libmicrohttpd gnutls libmaxminddb glib-2.0 libpq cmocka".split()


def sources():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.c", "*.h"], cwd=ROOT,
                            capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.split("\n")
    else:  # a tarball
        names = [str(p.relative_to(ROOT)) for room in MAY_KNOW for p in (ROOT / room).rglob("*.[ch]")]
    return sorted({name for name in names if name and name.split("/")[0] in MAY_KNOW and (ROOT / name).exists()})


def longest(prefixes, name):
    """The longest prefix that matches: "openssl/engine.h" before "openssl/"."""
    hits = [p for p in prefixes if name == p or (p.endswith("/") and name.startswith(p))]
    return max(hits, key=len, default=None)


def is_public_header(name):
    room, _, rest = name.partition("/")
    return rest == f"{room}.h"


def check_generated(room, target):
    prefix = longest(GENERATED, target)
    if prefix is None:
        return f'"{target}": no message of ours'
    if MAY_KNOW[room] is not None and room not in GENERATED[prefix]:
        return f'{room}/ must not speak the messages of "{target}"'
    return None


def check_own(room, target):
    if target.endswith(".pb-c.h"):
        return check_generated(room, target)
    if not (ROOT / target).exists():
        return f'"{target}" is not rooted at the repository'
    other = target.split("/")[0]
    if MAY_KNOW[room] is None or other == room:
        return None
    if other not in MAY_KNOW[room]:
        return f'{room}/ must not know {other}/ ("{target}")'
    if other not in ALL_PUBLIC and not is_public_header(target):
        return f'"{target}" is private to {other}/'
    return None


def check_foreign(room, name, target):
    prefix = longest(OWNERS, target)
    if prefix is None:
        return None  # the C library
    if MAY_KNOW[room] is not None and room not in OWNERS[prefix]:
        return f"<{target}> belongs to {', '.join(sorted(OWNERS[prefix])) or 'tests'}/, not to {room}/"
    if is_public_header(name) and longest(PUBLIC_MAY_SHOW, target) is None:
        return f"a public header shows <{target}>"
    return None


def check_file(name):
    room = name.split("/")[0]
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        wrong = check_own(room, target) if quote == '"' else check_foreign(room, name, target)
        if wrong:
            yield f"{name}:{number}: {wrong}"


def compile_alone(name, flags):
    """A header twice in an otherwise empty file: it needs nothing before it and is guarded."""
    text = f'#include "{name}"\n#include "{name}"\n'
    done = subprocess.run(["cc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", *flags,
                           "-x", "c", "-"], input=text, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        yield f"{name}:1: does not compile alone:\n{done.stderr.rstrip()}"


def compile_flags(generated):
    flags = subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True, check=True)
    return ["-I.", f"-isystem{os.path.abspath(generated)}", '-DTEST_SOURCE_DIR="tests"', *flags.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--generated", metavar="DIR")
    options = parser.parse_args()
    names = sources()
    wrong = [line for name in names for line in check_file(name)]
    headers = [name for name in names if name.endswith(".h")]
    if options.generated:
        flags = compile_flags(options.generated)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for lines in pool.map(lambda name: list(compile_alone(name, flags)), headers):
                wrong += lines
    print("\n".join(wrong) if wrong else f"includes: {len(names)} files, {len(headers)} headers: as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
