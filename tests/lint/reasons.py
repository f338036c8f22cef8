#!/usr/bin/env python3
"""Is the table of reasons in docs/PROTOCOL.md that of common/reason.h? With --write, makes it so.

Exit code 1 when it is not.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/PROTOCOL.md"
BEGIN, END = "<!-- reasons: tests/lint/reasons.py --write -->\n", "<!-- end of reasons -->\n"
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
STATUS = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
          "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
          "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]


def table():
    codes = dict(re.findall(r"X\((\w+), (\d+), \"", (ROOT / "common/err.h").read_text()))
    reasons = re.findall(r"X\((\w+), (\w+),\s*(?:\\\n\s*)?\"([^\"]+)\"\)", (ROOT / "common/reason.h").read_text())
    rows = "".join(f"| `{name}` | {STATUS[int(codes[code])]} | {text} |\n" for name, code, text in reasons)
    return "| reason | gRPC status | meaning |\n|---|---|---|\n" + rows


def main():
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = before + BEGIN + table() + END + after
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(wanted)
    elif text != wanted:
        print(f"{DOCUMENT.relative_to(ROOT)}: its reasons are not those of common/reason.h: run tests/lint/reasons.py --write")
        return 1
    return 0


sys.exit(main())
