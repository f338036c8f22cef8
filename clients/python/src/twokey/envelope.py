"""DSSE envelopes: what is signed, by whom, and their JSON form. docs/PROTOCOL.md, section 2."""
from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from twokey.errors import IntegrityError
from twokey.v1.transaction_pb2 import Envelope, Signature, Transaction

TRANSACTION_TYPE = "application/vnd.twokey.transaction.v1+protobuf"
RECEIPT_TYPE = "application/vnd.twokey.receipt.v1+protobuf"
HOLDER_TYPE = "application/vnd.twokey.holder-statement.v1+protobuf"


def pae(kind: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def digest(envelope: Envelope) -> bytes:
    """SHA-256 of the PAE; does not depend on the signatures."""
    return hashlib.sha256(pae(envelope.payload_type, envelope.payload)).digest()


def transaction_of(envelope: Envelope) -> Transaction:
    """What the envelope says. Says nothing of who has signed it."""
    if envelope.payload_type != TRANSACTION_TYPE:
        raise IntegrityError(f"an envelope around {envelope.payload_type}, not around a transaction")
    return Transaction.FromString(envelope.payload)


def envelope_to_json(envelope: Envelope) -> str:
    """DSSE's JSON form, one line: what `twokey` reads and writes."""
    signatures = [{"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode()} for s in envelope.signatures]
    return json.dumps({"payload": base64.b64encode(envelope.payload).decode(), "payloadType": envelope.payload_type,
                       "signatures": signatures})


def envelope_from_json(text: str | bytes) -> Envelope:
    """The envelope of DSSE's JSON form. ValueError when it is none."""
    try:
        read = json.loads(text)
        signatures = [Signature(keyid=s.get("keyid", ""), sig=_unbase64(s["sig"])) for s in read["signatures"]]
        return Envelope(payload=_unbase64(read["payload"]), payload_type=read["payloadType"], signatures=signatures)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a DSSE envelope: {error!r}") from error


def _unbase64(text: str) -> bytes:
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


class PublicKey:
    """A key of a deployment's, from PEM: EC P-256 or RSA."""

    def __init__(self, pem: bytes) -> None:
        self._key = serialization.load_pem_public_key(pem)
        if not isinstance(self._key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
            raise ValueError("neither an EC nor an RSA key")

    def has_signed(self, envelope: Envelope) -> bool:
        """Is one of the signatures by this key?"""
        body = pae(envelope.payload_type, envelope.payload)
        return any(self._verifies(signature.sig, body) for signature in envelope.signatures)

    def _verifies(self, signature: bytes, body: bytes) -> bool:
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, body, ec.ECDSA(hashes.SHA256()))
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, body, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
            return True
        except InvalidSignature:
            return False


def check_signed(envelope: Envelope, keys: Iterable[PublicKey], what: str) -> None:
    """IntegrityError unless one of the keys has signed. No keys at all: nothing can be checked."""
    known = list(keys)
    if known and not any(key.has_signed(envelope) for key in known):
        raise IntegrityError(f"{what} is not signed by a key that is trusted for it")
