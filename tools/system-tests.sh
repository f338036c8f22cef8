#!/bin/sh
# The system tests, with what `make system` has built. Further arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export PATH="$root/build/tools/bin:$PATH"
export TWOKEY_BIN="${TWOKEY_BIN:-$root/build/dev/twokey}"
export TWOKEY_RELEASE_BIN="${TWOKEY_RELEASE_BIN:-$root/build/release/twokey}"
export PYTHONDONTWRITEBYTECODE=1
exec build/tools/venv/bin/pytest -p no:cacheprovider tests/system "$@"
