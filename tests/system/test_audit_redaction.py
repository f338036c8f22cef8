"""No PIN, key, credential, signature value or content is ever in a record, nor in a file beside it."""
import os

import pytest

from support import s3
from support.client import Refused
from support.deployment import AUDITOR, BACKEND


def secrets_of(system, envelopes, content):
    """Bytes that must be nowhere, by what they are."""
    found = {"content": content, "S3 secret": s3.SECRET.encode()}
    for role in ("vendor", "gatekeeper"):
        path = system.tokens.folder / f"{role}.pin"
        found[f"PIN of the {role}'s token"] = path.read_text().strip().encode()
    for i, envelope in enumerate(envelopes):
        for signature in envelope.signatures:
            found[f"signature {i}"] = signature.sig
    for name, identity in system.identities.items():
        key = [line for line in identity.key.read_text().splitlines() if not line.startswith("-")]
        found[f"private key of {name}"] = key[0].encode()
    return {what: value for what, value in found.items() if len(value) >= 8}


@pytest.mark.parametrize("form", [bytes, lambda value: value.hex().encode()], ids=["raw", "hex"])
def test_the_record_keeps_no_secrets(s3_system, form):
    system, content = s3_system, os.urandom(64)
    client, backend = system.client(), system.client("vendor", BACKEND)
    envelopes = [system.propose("PUT", f"secret/{content.hex()[:8]}"), system.propose("GET", f"secret/{content.hex()[:8]}")]
    envelopes.append(backend.authorize("get", "reports", "secret/2").envelope)
    client.store(envelopes[0], content)
    tail = client.fetch(envelopes[1]).tail
    envelopes += [tail.receipt, client.cosign(envelopes[2]).envelope]
    # Also what is refused, with a signature that does not hold.
    forged = system.propose("GET", "secret/3")
    forged.payload += b"\0"
    with pytest.raises(Refused):
        client.cosign(forged)
    envelopes.append(forged)
    system.client("gatekeeper", AUDITOR).search(text="secret")

    for party in (system.vendor, system.gatekeeper):
        ledger = party.folder / "ledger"
        files = [path for path in ledger.rglob("*") if path.is_file()]
        assert any(path.suffix == ".seg" for path in files)
        for path in files:
            data = path.read_bytes()
            for what, value in secrets_of(system, envelopes, content).items():
                assert form(value) not in data, f"{what} is in {path}"
        assert b"secret/" in b"".join(path.read_bytes() for path in files), "it has looked at the right files"
