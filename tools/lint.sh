#!/bin/sh
# Format, include rules, cppcheck, clang-tidy; each says what it found, any of them fails the whole. Needs build/dev.
# Usage: tools/lint.sh [FILE.c...]    (default: all that git knows)
set -u
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
	# shellcheck disable=SC2046 # no blanks in our paths
	set -- $(git ls-files '*.c')
fi
failed=0
step() {
	echo "lint: $1"
	shift
	"$@" || failed=1
}
# Those of the given files that build/dev compiles: clang-tidy needs their flags.
compiled() {
	for file; do
		if grep -qF "\"file\": \"$PWD/$file\"" build/dev/compile_commands.json; then
			echo "$file"
		fi
	done
}
tidy() {
	compiled "$@" | xargs -P "$(nproc)" -n 4 clang-tidy-14 -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option 2>build/clang-tidy.log
}

step format clang-format-14 --dry-run -Werror $(git ls-files '*.c' '*.h')
step includes python3 tests/lint/includes.py --generated build/dev/proto
step reasons python3 tests/lint/reasons.py
step messages tools/web-messages.sh --check
step cppcheck cppcheck --quiet --std=c11 --language=c --error-exitcode=1 --inline-suppr -j "$(nproc)" -I . -I build/dev/proto \
	--enable=warning,portability,performance --suppressions-list=tests/lint/cppcheck.supp "$@"
step clang-tidy tidy "$@"
exit "$failed"
