#!/bin/sh
# Makes web/twokey/messages.js from proto/: protoc-gen-es writes JavaScript, esbuild puts it and its runtime into one
# module, so that a page needs nothing else. Both are pinned in tests/web/package.json.
# Usage: tools/web-messages.sh [--check]    --check: fails when the committed file is not what would be made.
set -eu
cd "$(dirname "$0")/.."
modules=$PWD/build/tools/web/node_modules
PATH="$PATH:$PWD/build/tools/venv/bin:$modules/.bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$modules" "$work/node_modules"
protoc -I proto -I /usr/include --plugin="protoc-gen-es=$modules/.bin/protoc-gen-es" --es_out="$work" \
	--es_opt=target=js,import_extension=js proto/twokey/v1/*.proto proto/google/rpc/*.proto proto/grpc/health/v1/health.proto
{
	echo 'export { create, toBinary, fromBinary, toJson, fromJson } from "@bufbuild/protobuf";'
	(cd "$work" && find twokey google grpc -name '*_pb.js' | LC_ALL=C sort) | sed 's|.*|export * from "./&";|'
} >"$work/entry.js"
(cd "$work" && esbuild entry.js --bundle --format=esm --target=es2022 --charset=utf8 --minify-whitespace --line-limit=200 \
	--legal-comments=none --log-level=warning --outfile=messages.js \
	--banner:js="// Made by tools/web-messages.sh from proto/, with protobuf-es (Apache-2.0, Buf Technologies). Do not edit.")
if [ "${1:-}" = --check ]; then
	cmp "$work/messages.js" web/twokey/messages.js
else
	cp "$work/messages.js" web/twokey/messages.js
fi
