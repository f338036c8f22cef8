"""What a gatekeeper says of a finished operation, and whether it is true."""
from __future__ import annotations

from collections.abc import Iterable

from twokey.envelope import RECEIPT_TYPE, PublicKey, check_signed, digest, transaction_of
from twokey.errors import IntegrityError
from twokey.v1.transaction_pb2 import Envelope, Receipt


def check_receipt(receipt: Envelope, transaction: Envelope, audit_keys: Iterable[PublicKey],
                  moved: tuple[int, bytes] | None = None) -> Receipt:
    """The receipt, when one of the keys has signed it and it is for that transaction; `moved`: (bytes, their SHA-256) as
    we have counted them. IntegrityError otherwise. Without keys the signature is not looked at, all else is."""
    if receipt.payload_type != RECEIPT_TYPE:
        raise IntegrityError("the gatekeeper's receipt is none")
    check_signed(receipt, audit_keys, "the receipt")
    said = Receipt.FromString(receipt.payload)
    asked = transaction_of(transaction)
    if said.transaction_sha256 != digest(transaction) or said.transaction_id != asked.id:
        raise IntegrityError("the receipt is for another transaction")
    if (said.operation, said.gatekeeper, said.bucket, said.object) != (asked.operation, asked.gatekeeper, asked.bucket,
                                                                       asked.object):
        raise IntegrityError("the receipt is for another operation or object")
    if moved is not None and (said.bytes, said.sha256) != moved:
        raise IntegrityError("the receipt is for other bytes")
    return said
