#!/usr/bin/env python3
"""Writes the cases of this folder: CreateSession of IAM Roles Anywhere, signed with an X.509 certificate, from AWS's
description of the signing process and nothing of ours. Keys and certificates are made once and kept.

Each case is a folder:
    certificates.pem        leaf first
    key.pem                 of the leaf; a test key
    settings.txt            "name: value" lines
    canonical-request.txt   {host} stands for where the test's server listens
    string-to-sign.txt      {hash} for the canonical request's SHA-256
    request.txt             the bytes that go out, without their CRs; {signature}: the DER signature in hex
"""
import base64
import datetime
import hashlib
import pathlib

from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = pathlib.Path(__file__).parent
TIME = "20261121T194000Z"  # of the tests' clock
ARNS = {"profileArn": "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/0b5bd5a6-ea29-4a48-a9a9-1bb6a2e2e5a1",
        "roleArn": "arn:aws:iam::123456789012:role/path/two+keys=a,b.c@d_e-f",
        "trustAnchorArn": "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/7f8a0a3c-1c1e-4a2b-9f3e-0d9c8b7a6f5e"}
CASES = {
    "leaf": {"serial": 1, "chain": 0, "duration": 3600, "name": None},
    "chain": {"serial": 0x7FEDCBA9876543210FEDCBA9876543210FEDCBA9, "chain": 2, "duration": 900, "name": None},
    "session-name": {"serial": 18446744073709551616, "chain": 1, "duration": 43200, "name": "clinic-gatekeeper@eu_1"},
}


def certificate(name, key, issuer, issuer_key, serial):
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    made = x509.CertificateBuilder().subject_name(named[0]).issuer_name(named[1]).public_key(key.public_key())
    made = made.serial_number(serial).not_valid_before(day).not_valid_after(day.replace(year=2046))
    return made.sign(issuer_key, hashes.SHA256())


def make_keys(folder, case):
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(case["chain"] + 2)]
    pem = b""
    for at in range(case["chain"] + 1):
        name, issuer = (f"level {at}", f"level {at + 1}")
        made = certificate(name, keys[at], issuer, keys[at + 1], case["serial"] if at == 0 else 100 + at)
        pem += made.public_bytes(serialization.Encoding.PEM)
    (folder / "certificates.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(keys[0].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def write(name, case):
    folder = HERE / name
    if not folder.exists():
        folder.mkdir()
        make_keys(folder, case)
    chain = x509.load_pem_x509_certificates((folder / "certificates.pem").read_bytes())
    encoded = [base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain]
    body = '{"durationSeconds":%d' % case["duration"]
    body += ',"roleSessionName":"%s"}' % case["name"] if case["name"] else "}"
    headers = {"host": "{host}", "content-type": "application/json", "x-amz-date": TIME, "x-amz-x509": encoded[0]}
    if len(encoded) > 1:
        headers["x-amz-x509-chain"] = ",".join(encoded[1:])
    query = "&".join(f"{key}={quote(value, safe='-_.~')}" for key, value in sorted(ARNS.items()))
    signed = ";".join(sorted(headers))
    lines = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers))
    canonical = f"POST\n/sessions\n{query}\n{lines}\n{signed}\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{TIME[:8]}/eu-central-1/rolesanywhere/aws4_request"
    authorization = (f"AWS4-X509-ECDSA-SHA256 Credential={case['serial']}/{scope}, SignedHeaders={signed}, "
                     "Signature={signature}")
    head = [f"POST /sessions?{query} HTTP/1.1", "Accept: */*"]
    head += [f"{key}: {value}" for key, value in headers.items()] + [f"authorization: {authorization}"]
    head.remove("host: {host}")
    head.insert(1, "Host: {host}")  # libcurl's spelling, and place
    head.append(f"Content-Length: {len(body)}")
    settings = {**ARNS, "duration": case["duration"], **({"name": case["name"]} if case["name"] else {})}
    (folder / "settings.txt").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    (folder / "canonical-request.txt").write_text(canonical)
    (folder / "string-to-sign.txt").write_text(f"AWS4-X509-ECDSA-SHA256\n{TIME}\n{scope}\n" + "{hash}")
    (folder / "request.txt").write_text("\n".join(head) + "\n\n" + body)


for each in CASES:
    write(each, CASES[each])
