#!/usr/bin/env python3
"""Writes the seeds of corpus/{transaction,envelope,holder}: real messages, made by protoc and openssl.

Run from anywhere: tests/fuzz/seeds_transaction.py
"""
import base64, hashlib, json, pathlib, subprocess, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
TYPE = "application/vnd.twokey.transaction.v1+protobuf"
HOLDER_TYPE = "application/vnd.twokey.holder-statement.v1+protobuf"
NOW = 1795285200


def encode(message, text):
    command = ["protoc", f"--encode=twokey.v1.{message}", f"-I{ROOT}/proto", "-I/usr/include", "twokey/v1/transaction.proto"]
    return subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout


def quoted(data):
    return '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'


def pae(kind, body):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


class Key:
    def __init__(self, folder, name):
        self.path = f"{folder}/{name}.pem"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path], check=True)
        self.spki = subprocess.run(["openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER"],
                                   stdout=subprocess.PIPE, check=True).stdout
        self.id = hashlib.sha256(self.spki).hexdigest()

    def sign(self, data):
        return subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.path], input=data, stdout=subprocess.PIPE,
                              check=True).stdout


def raw(der):
    """r || s from Ecdsa-Sig-Value."""
    out, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        out += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return out


def transaction(operation, more=""):
    return encode("Transaction", f"""
        id: "0123456789abcdef" operation: OPERATION_{operation} gatekeeper: "clinic" bucket: "scans"
        object: "2026/11/scan 1+2=3.dcm" account: "tenant-7" subject: "dr.o@example.com"
        issued_at {{ seconds: {NOW} nanos: 1000000 }} not_before {{ seconds: {NOW} nanos: 1000000 }}
        expires_at {{ seconds: {NOW + 300} }} {more}""")


TRANSACTIONS = {
    "get": transaction("GET"),
    "get_range_version_holder": transaction("GET", f"""constraints {{ range {{ first: 65536 length: 1 }} version_id: "v1"
        holder_key_sha256: {quoted(bytes(range(32)))} uses: 1000 networks: "10.0.0.0/8" networks: "2001:db8::/32" }}"""),
    "put_exact": transaction("PUT", f"""constraints {{ exact_bytes: 5242881 content_sha256: {quoted(bytes(range(32)))}
        content_type: "application/dicom" overwrite: true }}"""),
    "put_max": transaction("PUT", "constraints { max_bytes: 9223372036854775807 }"),
    "list_purpose_consent": transaction("LIST", f"""purpose: "second opinion" correlation_id: "c-1"
        consent {{ given_by: "patient 7" given_at {{ seconds: {NOW - 86400} }} text: "consent form 3" }}"""),
    "delete": transaction("DELETE", 'constraints { version_id: "v2" }'),
    "bad_unknown_field": transaction("GET") + b"\x78\x01",
    "bad_second_subject": transaction("GET") + b"\x3a\x01x",
    "bad_both_lengths": transaction("PUT") + b"\x5a\x04\x18\x01\x20\x01",
    "bad_constraint_for_operation": transaction("LIST", "constraints { overwrite: true }"),
    "bad_nul_in_object": transaction("GET").replace(b"scan 1", b"scan\0001"),
    "bad_range_overflow": transaction("GET", "constraints { range { first: 18446744073709551615 length: 2 } }"),
    "bad_nanos": transaction("GET", f"consent {{ given_at {{ seconds: 1 nanos: -1 }} }}"),
    "bad_truncated": transaction("GET")[:-3],
}


def envelopes(vendor, gatekeeper):
    payload = TRANSACTIONS["get"]
    sigs = [(key.id, key.sign(pae(TYPE, payload))) for key in (vendor, gatekeeper)]

    def pb(signatures):
        text = f'payload: {quoted(payload)} payload_type: "{TYPE}"'
        return encode("Envelope", text + "".join(f' signatures {{ keyid: "{k}" sig: {quoted(s)} }}' for k, s in signatures))

    def as_json(signatures, b64):
        return json.dumps({"payload": b64(payload).decode(), "payloadType": TYPE,
                           "signatures": [{"keyid": k, "sig": b64(s).decode()} for k, s in signatures]}).encode()

    return {
        "pb_unsigned": pb([]), "pb_one_signature": pb(sigs[:1]), "pb_two_signatures": pb(sigs),
        "pb_four_signatures": pb(sigs * 2), "pb_bad_five_signatures": pb(sigs * 2 + sigs[:1]),
        "pb_bad_second_payload": pb(sigs) + b"\x0a\x01x", "pb_bad_unknown_field": pb(sigs) + b"\x20\x01",
        "json_two_signatures": as_json(sigs, base64.b64encode),
        "json_url_safe": as_json(sigs, base64.urlsafe_b64encode),
        "json_without_keyid": b'{"payload":"YQ==","payloadType":"t","signatures":[{"sig":"YQ=="}]}',
        "json_escapes": b'{"payload":"YQ==","payloadType":"\\u00e9\\ud83d\\udddd","signatures":[{"keyid":"\\"\\\\","sig":"YQ"}]}',
        "json_bad_duplicate": b'{"payload":"YQ==","payload":"YQ==","payloadType":"t"}',
        "json_bad_nul": b'{"payload":"YQ==","payloadType":"\\u0000"}',
        "json_bad_nested": b'{"payload":' + b"[" * 100 + b"]" * 100 + b"}",
    }


def holders(key):
    digest = hashlib.sha256(pae(TYPE, b"seed")).digest()

    def statement(method="/twokey.v1.Gatekeeper/Fetch", seconds=NOW, nonce=bytes(16)):
        return encode("HolderStatement", f'transaction_sha256: {quoted(digest)} method: "{method}" '
                                         f"time {{ seconds: {seconds} }} nonce: {quoted(nonce)}")

    def proof(body, convert=raw):
        sig = convert(key.sign(pae(HOLDER_TYPE, body)))
        return encode("HolderProof", f"public_key: {quoted(key.spki)} statement: {quoted(body)} signature: {quoted(sig)}")

    return {
        "good": proof(statement()), "bad_der": proof(statement(), lambda der: der),
        "bad_method": proof(statement(method="/x")), "bad_old": proof(statement(seconds=NOW - 61)),
        "bad_nonce": proof(statement(nonce=b"x")), "bad_unknown_field": proof(statement() + b"\x28\x01"),
        "bad_truncated": proof(statement()[:-1]), "bad_empty": b"",
    }


def write(corpus, seeds):
    folder = CORPUS / corpus
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


with tempfile.TemporaryDirectory() as folder:
    write("transaction", TRANSACTIONS)
    write("envelope", envelopes(Key(folder, "vendor"), Key(folder, "gatekeeper")))
    write("holder", holders(Key(folder, "holder")))
