"""Off-the-shelf software verifies what we sign: securesystemslib, threshold 2 for envelopes, 1 for receipts."""
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from support import dsse


def trusted(pem_path):
    """A public key as securesystemslib wants it; the keyid is ours: hex SHA-256 of the SubjectPublicKeyInfo."""
    public = load_pem_public_key(pem_path.read_bytes())
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SSlibKey.from_crypto(public, keyid=hashlib.sha256(spki).hexdigest())


def as_json(envelope):
    """Our protobuf envelope by protobuf's own JSON mapping: that is DSSE's JSON form."""
    return json_format.MessageToDict(envelope)


@pytest.fixture(scope="module")
def keys(system):
    return [trusted(system.vendor.transaction_pem), trusted(system.gatekeeper.transaction_pem)]


@pytest.fixture(scope="module")
def cosigned(backend, client):
    return client.cosign(backend.authorize("GET", "reports", "dsse/one").envelope).envelope


def test_two_signatures_verify(cosigned, keys):
    envelope = Envelope.from_dict(as_json(cosigned))
    accepted = envelope.verify(keys, threshold=2)
    assert len(accepted) == 2
    assert envelope.payload_type == dsse.TRANSACTION


def test_one_signature_is_not_two(backend, keys):
    single = backend.authorize("GET", "reports", "dsse/two").envelope
    envelope = Envelope.from_dict(as_json(single))
    assert len(envelope.verify(keys, threshold=1)) == 1
    with pytest.raises(VerificationError):
        envelope.verify(keys, threshold=2)


@pytest.mark.parametrize("which", [0, 1])
def test_each_key_alone_is_not_enough(cosigned, keys, which):
    with pytest.raises((VerificationError, ValueError)):
        Envelope.from_dict(as_json(cosigned)).verify([keys[which]], threshold=2)


def test_a_strangers_key_does_not_count(cosigned, keys):
    stranger = SSlibKey.from_crypto(ec.generate_private_key(ec.SECP256R1()).public_key(), keyid=keys[1].keyid)
    with pytest.raises(VerificationError):
        Envelope.from_dict(as_json(cosigned)).verify([keys[0], stranger], threshold=2)


def test_a_changed_payload_does_not_verify(cosigned, keys):
    changed = type(cosigned)()
    changed.CopyFrom(cosigned)
    changed.payload = dsse.flip(changed.payload, len(changed.payload) // 2)
    with pytest.raises(VerificationError):
        Envelope.from_dict(as_json(changed)).verify(keys, threshold=1)


def test_the_command_line_writes_the_same_json(system, keys):
    """What `twokey authorize` and `twokey cosign` print is a DSSE file like any other."""
    import json

    proposed = system.twokey("authorize", *system.connection("vendor", "backend.test.example"), "get", "reports/dsse/cli",
                             "--gatekeeper", "gatekeeper", "--subject", "dr.bell")
    assert proposed.code == 0, proposed.err
    done = system.twokey("cosign", *system.connection(), "-", stdin=proposed.out)
    assert done.code == 0, done.err
    assert len(Envelope.from_dict(json.loads(done.out)).verify(keys, threshold=2)) == 2


def test_receipts_verify_and_say_what_happened(system, client, backend):
    data = b"worth a receipt"
    audit_key = trusted(system.gatekeeper.audit_pem)
    proposal = backend.authorize("PUT", "reports", "dsse/receipt").envelope
    stored = client.store(proposal, data)
    fetch = backend.authorize("GET", "reports", "dsse/receipt").envelope
    fetched = client.fetch(fetch)
    listing = backend.authorize("LIST", "reports", "dsse/r").envelope
    _, listed = client.list(listing)
    removal = backend.authorize("DELETE", "reports", "dsse/receipt").envelope
    removed = client.remove(removal)

    content = hashlib.sha256(data).digest()
    expected = [(proposal, stored.receipt, "OPERATION_PUT", len(data), content),
                (fetch, fetched.tail.receipt, "OPERATION_GET", len(data), content),
                (listing, listed.receipt, "OPERATION_LIST", 1, hashlib.sha256(b"dsse/receipt\0").digest()),
                (removal, removed.receipt, "OPERATION_DELETE", None, None)]
    for envelope, receipt, operation, count, digest in expected:
        checked = Envelope.from_dict(as_json(receipt))
        assert checked.payload_type == dsse.RECEIPT
        assert len(checked.verify([audit_key], threshold=1)) == 1
        said = client.types.Receipt.FromString(receipt.payload)
        assert said.operation == client.types.Operation.Value(operation)
        assert said.transaction_sha256 == dsse.digest(envelope)
        assert (said.gatekeeper, said.bucket) == ("gatekeeper", "reports")
        if count is not None:
            assert (said.bytes, said.sha256) == (count, digest)


def test_a_receipt_is_no_transaction(client, system):
    """Types are bound by the signature: a signed receipt cannot be presented as a proposal, nor the reverse."""
    stored = system.put(client, "dsse/type", b"x")
    receipt = type(stored.receipt)()
    receipt.CopyFrom(stored.receipt)
    receipt.payload_type = dsse.TRANSACTION
    from support.client import Refused

    with pytest.raises(Refused) as refused:
        client.cosign(receipt)
    assert refused.value.reason == "SIGNATURE_INVALID"
    with pytest.raises(Refused) as refused:
        client.cosign(stored.receipt)
    assert refused.value.reason == "MALFORMED"
