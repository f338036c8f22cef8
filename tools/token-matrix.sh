#!/bin/sh
# What the engine needs of a token, tried on three modules, as a table.
# Usage: tools/token-matrix.sh HSM_TEST_MATRIX
set -eu
program=${1:?usage: tools/token-matrix.sh HSM_TEST_MATRIX}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
for token in softhsm cloudhsm nss; do
	"$program" "test_$token" >"$folder/$token" 2>"$folder/$token.err" || failed=1
	grep -q '^cell: ' "$folder/$token" || echo "cell: (not installed): -" >"$folder/$token"
done
awk -v folder="$folder" '
	function read(token,   line, part) {
		while ((getline line < (folder "/" token)) > 0)
			if (split(line, part, ": ") >= 3 && part[1] == "cell") {
				if (!(part[2] in known)) { known[part[2]] = 1; needs[++n] = part[2] }
				result[token, part[2]] = substr(line, length(part[2]) + 9)
			}
	}
	function show(token, need) { return ((token, need) in result) ? result[token, need] : "-" }
	BEGIN {
		read("softhsm"); read("cloudhsm"); read("nss")
		printf "| %-30s | %-8s | %-13s | %-8s |\n", "need", "SoftHSM2", "CloudHSM shim", "NSS"
		printf "|%s|%s|%s|%s|\n", "--------------------------------", "----------", "---------------", "----------"
		for (i = 1; i <= n; i++)
			printf "| %-30s | %-8s | %-13s | %-8s |\n", needs[i], show("softhsm", needs[i]), show("cloudhsm", needs[i]), show("nss", needs[i])
	}'
[ "$failed" = 0 ] || { cat "$folder"/*.err >&2; exit 1; }
