#!/bin/bash
# Runs inside the booted root, started by try.service: what docs/DEBIAN.md tells an operator to do, and what must then hold.
# The last line of /root/result is "passed" when all of it did.
set -euxo pipefail
exec >/root/result 2>&1
trap 'journalctl --no-pager -u "twokey@*" | tail -n 40; systemctl poweroff' EXIT

etc=/etc/twokey state=/var/lib/twokey
export SOFTHSM2_CONF=$etc/softhsm2.conf

# ---- tokens ----
install -d -o twokey -g twokey -m 0700 $state/tokens
printf 'directories.tokendir = %s\nobjectstore.backend = file\n' $state/tokens >$SOFTHSM2_CONF
mkdir -p /etc/systemd/system/twokey@.service.d
cat >/etc/systemd/system/twokey@.service.d/softhsm.conf <<END
[Service]
Environment=SOFTHSM2_CONF=$SOFTHSM2_CONF
ReadWritePaths=$state/tokens
END
systemctl daemon-reload
for name in vendor gatekeeper; do
	openssl rand -hex 12 >$etc/$name.pin
	setpriv --reuid twokey --regid twokey --clear-groups softhsm2-util --init-token --free --label $name \
		--pin "$(cat $etc/$name.pin)" --so-pin "$(openssl rand -hex 12)"
done

# ---- certificates ----
cd $etc
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -keyout /root/ca.key -out ca.pem -days 2
certificate() { # NAME SAN FOLDER
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$3/$1.key" -out /root/$1.csr
	openssl x509 -req -in /root/$1.csr -CA ca.pem -CAkey /root/ca.key -CAcreateserial -CAserial /root/ca.srl -days 2 \
		-extfile <(echo "subjectAltName=$2") -out "$3/$1.pem"
}
certificate vendor DNS:localhost,IP:127.0.0.1 $etc
certificate gatekeeper DNS:localhost,IP:127.0.0.1 $etc
certificate backend DNS:backend.acme.example /root

# ---- configurations: the examples as they are ----
cp /usr/share/doc/twokey/examples/vendor.example.yaml vendor.yaml
cp /usr/share/doc/twokey/examples/gatekeeper.example.yaml gatekeeper.yaml
printf 'version: 1\nrules:\n  - {name: all, effect: allow}\n' >rules.yaml
for name in vendor gatekeeper; do
	install -d -o twokey -g twokey -m 0700 $state/$name
	systemd-run --pipe --quiet --uid=twokey -p "LoadCredential=pin:$etc/$name.pin" -E SOFTHSM2_CONF \
		twokey init --config $etc/$name.yaml --out $state/$name
done
cp $state/vendor/acme-vendor.transaction.pem $etc/
chown root:twokey ./* && chmod 0640 ./*

# ---- both roles serve ----
for name in vendor gatekeeper; do
	systemctl start twokey@$name # Type=notify: returns when it serves
	systemctl is-active twokey@$name
	systemctl show -p StatusText twokey@$name | grep '=serving '
	pid=$(systemctl show -p MainPID --value twokey@$name)
	grep -qx 'NoNewPrivs:	1' /proc/$pid/status
	grep -qx 'CapEff:	0000000000000000' /proc/$pid/status
	grep -qx 'Seccomp:	2' /proc/$pid/status
done
export TWOKEY_CA=$etc/ca.pem
head -c 3000000 /dev/urandom >/root/in
twokey authorize --server 127.0.0.1:7401 --cert /root/backend.pem --key /root/backend.key put reports/a \
	--gatekeeper clinic-gatekeeper --subject dr.lee --output /root/put.json
twokey authorize --server 127.0.0.1:7401 --cert /root/backend.pem --key /root/backend.key get reports/a \
	--gatekeeper clinic-gatekeeper --subject dr.lee --output /root/get.json
twokey store --server 127.0.0.1:7402 /root/put.json /root/in
twokey fetch --server 127.0.0.1:7402 /root/get.json --output /root/out
cmp /root/in /root/out

# ---- reload, crash, stop ----
systemctl reload twokey@gatekeeper
systemctl kill --signal KILL --kill-whom main twokey@gatekeeper
until [ "$(systemctl show -p NRestarts --value twokey@gatekeeper)" = 1 ] && systemctl -q is-active twokey@gatekeeper; do
	sleep 0.1
done
systemctl stop twokey@vendor twokey@gatekeeper
[ "$(systemctl show -p Result --value twokey@gatekeeper)" = success ]

# ---- upgrade: a deployment that runs goes on with the new binary; nothing of an operator's is touched ----
systemctl start twokey@gatekeeper
sha256sum $etc/*.yaml >/root/sums
dpkg -i /root/newer.deb
systemctl -q is-active twokey@gatekeeper
sha256sum -c /root/sums
[ -d $state/gatekeeper/ledger/log ]

# ---- removal ----
dpkg -P twokey
! command -v twokey
! systemctl -q is-active twokey@gatekeeper
[ -d $state/gatekeeper/ledger/log ]
sha256sum -c /root/sums
echo passed
