#!/bin/sh
# Measures the release build: every bench_* program, then the service as its clients see it, then what it costs between
# a client and an S3 server. Numbers are of this machine, at this moment; compare them within one run. Arguments go to
# bench/service.py and bench/s3.py.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
folder=build/bench
rm -rf "$folder"
mkdir -p "$folder"
# A PostgreSQL of our own beside the embedded log, on the same disk where /tmp is.
postgres=${TMPDIR:-/tmp}/twokey-bench-postgres
if python3 tests/system/support/postgres.py start "$postgres"; then
	trap 'python3 tests/system/support/postgres.py stop "$postgres"' EXIT
	export TWOKEY_BENCH_POSTGRESQL="host=$postgres user=twokey dbname=postgres"
fi
for program in build/release/bench/bench_*; do
	[ -x "$program" ] || continue
	echo "== $(basename "$program")"
	"$program" "$folder"
done
echo "== service"
export PATH="$root/build/tools/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
build/tools/venv/bin/python3 bench/service.py --binary build/release/twokey --folder "$folder" "$@"
echo "== TLS"
build/tools/venv/bin/python3 bench/handshake.py --binary build/release/twokey --folder "$folder" "$@"
echo "== S3"
build/tools/venv/bin/python3 bench/s3.py --binary build/release/twokey --folder "$folder" "$@"
echo "== slow downloads"
build/tools/venv/bin/python3 bench/streams.py --binary build/release/twokey --folder "$folder" "$@"
rm -rf "$folder"
