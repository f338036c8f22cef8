#!/usr/bin/env python3
"""Is every test that docs/THREATS.md names there, and does every claim name one?

Exit code 1 when not.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/THREATS.md"
NAME = re.compile(r"`(tests/[\w/.]+)::(test_\w+)`")


def main():
    text = DOCUMENT.read_text()
    wrong = []
    for path, name in NAME.findall(text):
        file = ROOT / path
        kind = r"^def {}\(" if path.endswith(".py") else r"^static void {}\(void \*\*state\)"
        if not file.exists() or not re.search(kind.format(name), file.read_text(), re.M):
            wrong.append(f"docs/THREATS.md: there is no {path}::{name}")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| cannot") and "---" not in line]
    wrong += [f"docs/THREATS.md: a claim without a test: {row[:80]}" for row in rows if not NAME.search(row)]
    print("\n".join(wrong) if wrong else f"threats: {len(rows)} claims, {len(NAME.findall(text))} tests: all there")
    return 1 if wrong or len(rows) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
