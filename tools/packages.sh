#!/bin/sh
# Installs the Debian packages of the named groups (packages/debian.txt) that are missing. Asks nothing; does nothing,
# and needs no network, when all are there.
# Usage: tools/packages.sh GROUP...    (build, run, test, lint)
set -eu
cd "$(dirname "$0")/.."

wanted() {
	for group; do
		sed -n "s/^\([a-z0-9][a-z0-9.+-]*\)[[:space:]]*#[[:space:]]*$group\$/\1/p" packages/debian.txt
	done
}

missing() {
	for package in $(wanted "$@"); do
		# shellcheck disable=SC2016 # dpkg-query expands it
		state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
		[ "$state" = installed ] || echo "$package"
	done
}

if ! command -v dpkg-query >/dev/null; then
	echo "packages: this is no Debian; please see to it that these are there: $(wanted "$@" | tr '\n' ' ')" >&2
	exit 0
fi
needed=$(missing "$@")
[ -n "$needed" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "packages: missing, and neither root nor sudo to install them: $(echo "$needed" | tr '\n' ' ')" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "packages: installing $(echo "$needed" | tr '\n' ' ')"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# shellcheck disable=SC2086 # one word per package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $needed
