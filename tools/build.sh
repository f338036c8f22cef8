#!/bin/sh
# Configures and builds one CMake preset into build/PRESET.
# Usage: tools/build.sh PRESET [TARGET...]    (dev, tsan, release, fuzz)
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
echo "build: $preset"
mkdir -p build
log=build/configure-$preset.log
if ! cmake --preset "$preset" >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
if [ $# -gt 0 ]; then
	set -- --target "$@"
fi
cmake --build --preset "$preset" "$@"
