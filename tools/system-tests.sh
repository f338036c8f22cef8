#!/bin/sh
# The system tests, with what `make system` has built. Arguments go to pytest: test_keys.py, -k name, -x.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export PATH="$root/build/tools/bin:$PATH"
export TWOKEY_BIN="${TWOKEY_BIN:-$root/build/dev/twokey}"
export TWOKEY_RELEASE_BIN="${TWOKEY_RELEASE_BIN:-$root/build/release/twokey}"
export PYTHONDONTWRITEBYTECODE=1
[ -z "${TWOKEY_SECOND_CHANCE:-}" ] || set -- --reruns 1 -raR "$@" # tests/README.md
cd tests/system
exec ../../build/tools/venv/bin/pytest -p no:cacheprovider "$@"
