#!/bin/sh
# A page of docs/ as a manual page of section 5, so that there is one text to keep true.
# Usage: tools/manual-page.sh docs/PAGE.md NAME "what it is" >NAME.5
set -eu
{
	printf '# NAME\n\n%s - %s\n\n' "$2" "$3"
	cat "$1"
} | lowdown -s -Tman -M "title=$2" -M section=5 -M source=twokey -
