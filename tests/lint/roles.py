#!/usr/bin/env python3
"""Is the table of methods and roles in docs/IDENTITY.md that of server/methods.c? With --write, makes it so.

Exit code 1 when it is not.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/IDENTITY.md"
BEGIN, END = "<!-- roles: tests/lint/roles.py --write -->\n", "<!-- end of roles -->\n"
ROLES = ["backend", "reader", "auditor", "operator", "admin"]


def methods():
    """[(service, method, {deployments}, {roles}, open to anyone)] as the code has them."""
    code = (ROOT / "server/methods.c").read_text()
    paths = dict(re.findall(r'#define METHOD_(\w+)\s+"/twokey\.v1\.([\w/]+)"', (ROOT / "server/methods.h").read_text()))
    words = {name: set(re.findall(r"CALLER_(\w+)", value)) for name, value in
             re.findall(r"^#define (\w+)\s+(\(?CALLER_.*)$", code, re.M)}
    rows = re.findall(r"\{METHOD_(\w+),\s+svc_\w+,\s+EVENT\(\w+\),\s+\w+,\s+\w+,\s+(\w+),\s+(\w+)\}", code)
    assert len(rows) == len(re.findall(r"\{METHOD_", code)), "a row of server/methods.c that this script does not understand"
    for name, deployments, callers in rows:
        service, method = paths[name].split("/")
        where = {"VENDOR": {"vendor"}, "GATEKEEPER": {"gatekeeper"}, "BOTH": {"vendor", "gatekeeper"}}[deployments]
        roles = {role.lower() for role in words[callers]}
        yield service, method, where, roles - {"anyone"} | {"admin"}, "anyone" in roles


def table():
    rows = "".join(f"| {service}.{method} | {' and '.join(sorted(where, reverse=True))} | "
                   + " | ".join("yes" if role in roles else "" for role in ROLES) + f" | {'yes' if anyone else ''} |\n"
                   for service, method, where, roles, anyone in methods())
    return (f"| method | deployment | {' | '.join(ROLES)} | without a certificate |\n"
            f"|---|---|{'---|' * len(ROLES)}---|\n" + rows)


def main():
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = before + BEGIN + table() + END + after
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(wanted)
    elif text != wanted:
        print(f"{DOCUMENT.relative_to(ROOT)}: its roles are not those of server/methods.c: run tests/lint/roles.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
