#!/bin/bash
# The init jobs of compose.yaml: what docs/DEBIAN.md tells an operator to do by hand, for one role. Safe to repeat.
# /tls is handed from the vendor's job to the gatekeeper's: a small authority for a first try, and the vendor's public key.
# A real deployment has certificates of `twokey ca` or of the company's authority.
set -euo pipefail
umask 027
role=$1 etc=/etc/twokey state=/var/lib/twokey

certificate() { # NAME SAN FOLDER
	[ ! -s "$3/$1.pem" ] || return 0
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$3/$1.key" -out "/tls/$1.csr"
	openssl x509 -req -in "/tls/$1.csr" -CA /tls/ca.pem -CAkey /tls/ca.key -CAcreateserial -days 365 \
		-extfile <(echo "subjectAltName=$2") -out "$3/$1.pem"
}

as_twokey() { setpriv --reuid twokey --regid twokey --clear-groups "$@"; }

if [ ! -s /tls/ca.pem ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=twokey-try -keyout /tls/ca.key -out /tls/ca.pem -days 365
fi
certificate backend DNS:backend.acme.example /tls
certificate "$role" "DNS:localhost,DNS:$role,IP:127.0.0.1" $etc
cp /tls/ca.pem $etc/ca.pem

if [ "$role" = gatekeeper ]; then
	cp /tls/acme-vendor.transaction.pem $etc/
	[ -s $etc/rules.yaml ] || printf 'version: 1\nrules:\n  - {name: everything-for-a-first-try, effect: allow}\n' >$etc/rules.yaml
fi

install -d -o twokey -g twokey -m 0700 $state $state/tokens
if [ ! -s $etc/pin ]; then
	openssl rand -hex 12 >$etc/pin
	as_twokey softhsm2-util --init-token --free --label "$role" --pin "$(cat $etc/pin)" --so-pin "$(openssl rand -hex 12)"
fi
sed "s#$state/$role/#$state/#; s#credential:pin#file:pin#" "/usr/share/doc/twokey/examples/$role.example.yaml" >$etc/twokey.yaml
chown -R root:twokey $etc
chmod -R u=rwX,g=rX,o= $etc
as_twokey twokey init --config $etc/twokey.yaml --out $state
[ "$role" = gatekeeper ] || cp $state/acme-vendor.transaction.pem /tls/
