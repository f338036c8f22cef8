"""Envelopes made and changed by hand: what an attacker, or a stolen vendor key, can do."""
import hashlib
import os
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from support import pki

TRANSACTION = "application/vnd.twokey.transaction.v1+protobuf"
RECEIPT = "application/vnd.twokey.receipt.v1+protobuf"
HOLDER = "application/vnd.twokey.holder-statement.v1+protobuf"


def messages():
    from twokey.v1 import transaction_pb2

    return transaction_pb2


def pae(kind, body):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


def digest(envelope):
    return hashlib.sha256(pae(envelope.payload_type, envelope.payload)).digest()


def keyid(key):
    return hashlib.sha256(pki.public_der(key)).hexdigest()


def sign(payload, *keys, kind=TRANSACTION):
    """An envelope around a payload, signed by software keys."""
    envelope = messages().Envelope(payload=payload, payload_type=kind)
    for key in keys:
        envelope.signatures.add(sig=key.sign(pae(kind, payload), ec.ECDSA(hashes.SHA256())), keyid=keyid(key))
    return envelope


def transaction(operation, bucket, object_, subject="dr.bell", gatekeeper="gatekeeper", lifetime=300, account="acme",
                now=None, **constraints):
    """A well-formed transaction, as a vendor's deployment would make it."""
    pb = messages()
    seconds = int(time.time() if now is None else now)
    made = pb.Transaction(id=os.urandom(16), operation=pb.Operation.Value("OPERATION_" + operation.upper()),
                          gatekeeper=gatekeeper, bucket=bucket, object=object_, account=account, subject=subject)
    made.issued_at.seconds = made.not_before.seconds = seconds
    made.expires_at.seconds = seconds + lifetime
    if constraints:
        networks = constraints.pop("networks", [])
        byte_range = constraints.pop("range", None)
        made.constraints.MergeFrom(pb.Constraints(networks=networks, **constraints))
        if byte_range:
            made.constraints.range.first, made.constraints.range.length = byte_range
    return made


def holder_proof(envelope, key, method, now=None):
    """A proof by the key that a transaction names (IEEE P1363 signature, as WebCrypto makes it)."""
    pb = messages()
    statement = pb.HolderStatement(transaction_sha256=digest(envelope), method=method, nonce=os.urandom(16))
    statement.time.FromNanoseconds(int((time.time() if now is None else now) * 1e9))
    body = statement.SerializeToString()
    r, s = utils.decode_dss_signature(key.sign(pae(HOLDER, body), ec.ECDSA(hashes.SHA256())))
    return pb.HolderProof(public_key=pki.public_der(key), statement=body,
                          signature=r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def flip(data, at, mask=1):
    """The same bytes with one of them changed."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]
