#!/bin/bash
# First boot of a gatekeeper: the same steps as in gatekeeper.cfn.yaml.
set -euo pipefail
umask 077
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -y -q awscli jq
aws s3 cp --recursive s3://${package_bucket}/gatekeeper/ /root/gatekeeper/
apt-get install -y -q /root/gatekeeper/*.deb
cp /root/gatekeeper/etc/* /etc/twokey/
aws secretsmanager get-secret-value --region ${region} --secret-id ${pin} --query SecretString --output text >/etc/twokey/gatekeeper.pin
chown root:twokey /etc/twokey/*
chmod 0640 /etc/twokey/*
systemctl enable --now twokey@gatekeeper
