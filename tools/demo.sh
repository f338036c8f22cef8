#!/usr/bin/env bash
# make demo: a file goes into a bucket and out again, through two signatures. Two deployments of one binary, two tokens.
# Everything it makes is in build/demo (made anew each time; TWOKEY_DEMO_DIR: elsewhere); no process outlives it.
# Usage: tools/demo.sh TWOKEY
set -euo pipefail
umask 077
twokey=$(realpath "${1:?usage: tools/demo.sh TWOKEY}")
cd "$(dirname "$0")/.."
demo=${TWOKEY_DEMO_DIR:-$PWD/build/demo}
export SOFTHSM2_CONF=$demo/softhsm2.conf

# ---- telling ----
bold='' dim='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
step=0
chapter() {
	step=$((step + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"
}
say() { printf '   %s\n' "$*"; }
quote() { sed "s/^/     ${dim}| /; s/\$/${plain}/"; }
good() { printf '   %s✓%s %s\n' "$green" "$plain" "$*"; }
wrong() {
	printf '   %s✗ %s%s\n' "$red" "$*" "$plain" >&2
	exit 1
}

# ---- processes ----
declare -A pids=() addresses=()
stop_all() {
	local name
	for name in "${!pids[@]}"; do
		kill -TERM "${pids[$name]}" 2>/dev/null || true
	done
	for name in "${!pids[@]}"; do
		wait "${pids[$name]}" 2>/dev/null || true
	done
	pids=()
}
finish() {
	local code=$?
	trap - EXIT
	local log
	if [ "$code" != 0 ]; then
		for log in "$demo"/*/serve.log; do
			[ -s "$log" ] && { echo "--- the end of ${log#"$PWD/"}:"; tail -n 5 "$log"; }
		done >&2
	fi
	stop_all
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

serve() { # NAME: starts its deployment and waits until it says where it serves
	local name=$1 log=$demo/$1/serve.log
	: >"$log"
	"$twokey" serve --config "$demo/$name/twokey.yaml" >"$log" 2>&1 &
	pids[$name]=$!
	local line deadline=$((SECONDS + 20))
	until line=$(grep -o 'serving address=[^ ]*' "$log"); do
		kill -0 "${pids[$name]}" 2>/dev/null || wrong "$name's deployment did not start"
		[ "$SECONDS" -lt "$deadline" ] || wrong "$name's deployment is not ready after 20 s"
		sleep 0.05
	done
	addresses[$name]=${line#serving address=}
}

# ---- parts ----
token() { # NAME: a SoftHSM token with a PIN file
	local name=$1
	mkdir -p "$demo/$name"
	openssl rand -hex 12 >"$demo/$name/pin"
	softhsm2-util --init-token --free --label "$name" --pin "$(cat "$demo/$name/pin")" \
		--so-pin "$(openssl rand -hex 12)" >"$demo/$name/token.log"
}
certificate() { # NAME SUBJECT-ALTERNATIVE-NAMES PURPOSE
	local name=$1 sans=$2 purpose=$3
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$demo/tls/$name.key" \
		-subj "/CN=$name" -out "$demo/tls/$name.csr" 2>/dev/null
	openssl x509 -req -in "$demo/tls/$name.csr" -CA "$demo/tls/ca.pem" -CAkey "$demo/tls/ca.key" -days 2 -sha256 \
		-extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\nkeyUsage=digitalSignature\n' "$sans" "$purpose") \
		-out "$demo/tls/$name.pem" 2>/dev/null
}
config_head() { # ROLE NAME FOLDER: what all deployments have in common
	cat <<-YAML
		role: $1
		name: $2
		listen: 127.0.0.1:0
		tls: {certificate: ../tls/server.pem, key: ../tls/server.key, client_ca: ../tls/ca.pem}
		token: {uri: "pkcs11:token=$3", pin_source: "file:pin"}
		ledger: {directory: ledger}
		callers:
		  - {identity: auditor.demo.example, roles: [auditor]}
	YAML
}
as() { # CLIENT SERVER COMMAND...: the twokey command with a client's certificate, or with none ("-")
	local client=$1 server=$2 cert=()
	shift 2
	[ "$client" = - ] || cert=(--cert "$demo/tls/$client.pem" --key "$demo/tls/$client.key")
	local command=("$1")
	shift
	if [ "${command[0]}" = audit ]; then
		command+=("$1")
		shift
	fi
	"$twokey" "${command[@]}" --server "${addresses[$server]}" --ca "$demo/tls/ca.pem" "${cert[@]}" "$@"
}
keyid_of() { openssl pkey -pubin -in "$1" -outform DER | sha256sum | cut -d' ' -f1; }
signers() { # ENVELOPE: one line for each signature
	python3 - "$1" "$vendor_id" "$gatekeeper_id" <<-'PYTHON'
		import json, sys
		names = {sys.argv[2]: "the vendor, acme-vendor", sys.argv[3]: "the gatekeeper, clinic-gatekeeper"}
		for signature in json.load(open(sys.argv[1]))["signatures"]:
		    print(f"signed by {names.get(signature['keyid'], 'a stranger')}: key {signature['keyid'][:16]}…")
	PYTHON
}
refused() { # REASON COMMAND...: runs a command that must be refused for that reason
	local reason=$1 answer code=0
	shift
	answer=$("$@" 2>&1 >/dev/null) || code=$?
	quote <<<"$answer"
	[ "$code" = 3 ] || wrong "expected a refusal (exit code 3), got exit code $code"
	[[ $answer == *"refused: $reason:"* ]] || wrong "expected the reason $reason"
	good "refused: $reason"
}

# ---- the story ----
rm -rf "$demo"
mkdir -p "$demo/tokens" "$demo/tls" "$demo/files"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$demo/tokens" >"$SOFTHSM2_CONF"

chapter "Two parties, each with a token of its own"
for name in vendor gatekeeper mallory; do
	token "$name"
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -sha256 -subj "/CN=demo CA" \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
	-keyout "$demo/tls/ca.key" -out "$demo/tls/ca.pem" 2>/dev/null
certificate server "IP:127.0.0.1,DNS:localhost" serverAuth
certificate backend DNS:backend.demo.example clientAuth
certificate auditor DNS:auditor.demo.example clientAuth
{
	config_head vendor acme-vendor vendor
	echo '  - {identity: backend.demo.example, roles: [backend]}'
} >"$demo/vendor/twokey.yaml"
{
	config_head gatekeeper clinic-gatekeeper gatekeeper
	cat <<-YAML
		rules: rules.yaml
		vendor_keys:
		  - {name: acme, public_key: acme-vendor.transaction.pem}
		buckets:
		  - {name: reports, store: directory, directory: objects}
	YAML
} >"$demo/gatekeeper/twokey.yaml"
cat >"$demo/gatekeeper/rules.yaml" <<-YAML
	version: 1
	rules:
	  - name: doctors-on-this-machine
	    effect: allow
	    operations: [GET, PUT, LIST]
	    buckets: [reports]
	    objects: ["patients/**"]
	    users: ["dr.*"]
	    networks: [127.0.0.0/8]
	  - name: night-clerk-in-the-clinic
	    effect: allow
	    operations: [GET]
	    buckets: [reports]
	    objects: ["patients/**"]
	    users: [night.clerk]
	    networks: [192.0.2.0/24]
YAML
say "The vendor makes its signing key inside its token:"
"$twokey" init --config "$demo/vendor/twokey.yaml" | quote
cp "$demo/vendor/acme-vendor.transaction.pem" "$demo/gatekeeper/"
say "The customer's gatekeeper makes its own, and the key that seals the bucket:"
"$twokey" init --config "$demo/gatekeeper/twokey.yaml" | quote
say "The same command again finds everything in place and changes nothing:"
"$twokey" init --config "$demo/gatekeeper/twokey.yaml" | quote
vendor_id=$(keyid_of "$demo/vendor/acme-vendor.transaction.pem")
gatekeeper_id=$(keyid_of "$demo/gatekeeper/clinic-gatekeeper.transaction.pem")
serve vendor
serve gatekeeper
good "the vendor serves on ${addresses[vendor]}, the gatekeeper on ${addresses[gatekeeper]}, both with TLS"

chapter "A file goes in, through two signatures"
{
	echo "Report on a patient: all is well."
	openssl rand -base64 300000
} >"$demo/files/in.txt"
sum_in=$(sha256sum <"$demo/files/in.txt" | cut -d' ' -f1)
say "The file: $(stat -c %s "$demo/files/in.txt") bytes, SHA-256 $sum_in"
say "The vendor's backend asks its deployment to propose: dr.bell may put patients/4711.txt, once, within 300 s."
as backend vendor authorize put reports/patients/4711.txt --gatekeeper clinic-gatekeeper --subject dr.bell \
	--purpose "discharge letter" >"$demo/files/put-1.json"
signers "$demo/files/put-1.json" | quote
say "The gatekeeper checks it against the customer's own rules, and signs too:"
as - gatekeeper cosign "$demo/files/put-1.json" >"$demo/files/put-2.json"
signers "$demo/files/put-2.json" | quote
as - gatekeeper store "$demo/files/put-2.json" "$demo/files/in.txt" --receipt "$demo/files/put-receipt.json"
good "stored, with a signed receipt"

chapter "What the bucket sees"
object=$(find "$demo/gatekeeper/objects" -type f -size +100k | head -n 1)
[ -n "$object" ] || wrong "no object in the bucket"
say "A file of $(stat -c %s "$object") bytes. A label: its size, and its own key, wrapped by a key that never leaves the token:"
head -c 4096 "$object" | tr -d '\0' | cut -c 1-100 | quote
say "and then ciphertext:"
od -A d -t x1z -j 4096 -N 64 "$object" | quote
if grep -q "Report on a patient" "$object"; then
	wrong "the bucket can read the file"
fi
good "no word of the file can be found in it"

chapter "And out again"
say "A new proposal, to get it. Fetch co-signs in the same call:"
as backend vendor authorize get reports/patients/4711.txt --gatekeeper clinic-gatekeeper --subject dr.bell \
	>"$demo/files/get-1.json"
as - gatekeeper fetch "$demo/files/get-1.json" --output "$demo/files/out.txt" --receipt "$demo/files/get-receipt.json"
sum_out=$(sha256sum <"$demo/files/out.txt" | cut -d' ' -f1)
say "SHA-256 in:  $sum_in"
say "SHA-256 out: $sum_out"
[ "$sum_in" = "$sum_out" ] || wrong "these differ"
good "the same bytes"

chapter "Four that are refused"
say "a) Mallory has a twokey of her own and signs a fine proposal. The gatekeeper does not know her key:"
{
	config_head vendor mallory mallory
	echo '  - {identity: backend.demo.example, roles: [backend]}'
} >"$demo/mallory/twokey.yaml"
"$twokey" init --config "$demo/mallory/twokey.yaml" >/dev/null
serve mallory
as backend mallory authorize get reports/patients/4711.txt --gatekeeper clinic-gatekeeper --subject dr.bell \
	>"$demo/files/stranger.json"
refused SIGNATURE_INVALID as - gatekeeper fetch "$demo/files/stranger.json" --output "$demo/files/never.txt"

say "b) A good proposal with one byte changed, 4711 to 4712:"
as backend vendor authorize get reports/patients/4711.txt --gatekeeper clinic-gatekeeper --subject dr.bell \
	>"$demo/files/good.json"
python3 - "$demo/files/good.json" >"$demo/files/changed.json" <<-'PYTHON'
	import base64, json, sys
	envelope = json.load(open(sys.argv[1]))
	payload = base64.b64decode(envelope["payload"]).replace(b"4711", b"4712")
	envelope["payload"] = base64.b64encode(payload).decode()
	json.dump(envelope, sys.stdout)
PYTHON
refused SIGNATURE_INVALID as - gatekeeper fetch "$demo/files/changed.json" --output "$demo/files/never.txt"

say "c) The proposal that fetched the file a moment ago, a second time:"
refused REPLAYED as - gatekeeper fetch "$demo/files/get-1.json" --output "$demo/files/never.txt"

say "d) night.clerk may read, but from the clinic's network 192.0.2.0/24 only; this machine is 127.0.0.1:"
as backend vendor authorize get reports/patients/4711.txt --gatekeeper clinic-gatekeeper --subject night.clerk \
	>"$demo/files/clerk.json"
refused NETWORK_DENIED as - gatekeeper fetch "$demo/files/clerk.json" --output "$demo/files/never.txt"
[ ! -e "$demo/files/never.txt" ] || wrong "a refused fetch left a file"

chapter "It is all on record, at both ends"
denied() { as auditor gatekeeper audit search --decision denied --json 2>/dev/null | wc -l; }
deadline=$((SECONDS + 10)) # the search index follows the record within milliseconds
until [ "$(denied)" = 4 ]; do
	[ "$SECONDS" -lt "$deadline" ] || wrong "expected the four refusals on record, found $(denied)"
	sleep 0.05
done
say "The vendor's record, newest first:"
as auditor vendor audit search | quote
say "The gatekeeper's record, refusals with their reasons:"
as auditor gatekeeper audit search | quote
good "all four refusals are there"

chapter "The end"
all=("${pids[@]}")
for name in "${!pids[@]}"; do
	kill -TERM "${pids[$name]}"
	wait "${pids[$name]}" || wrong "$name's deployment ended with exit code $?"
done
pids=()
for pid in "${all[@]}"; do
	if kill -0 "$pid" 2>/dev/null; then
		wrong "process $pid is still there"
	fi
done
good "the deployments have stopped in good order; nothing is left running. What was made: ${demo#"$PWD/"}"
