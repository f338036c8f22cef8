"""Exports of the record, for other people's tools; receipts, checked with and without us."""
import base64
import csv
import hashlib
import io
import json

import pytest

from support.client import Refused
from support.deployment import AUDITOR, BACKEND
from support.operator import operator
from support.process import until

# What OCSF 1.9 asks of a Datastore Activity (class 6005) with the profiles security_control and record_integrity: the
# required attributes of the event and of its objects, and the numbers that are allowed.
REQUIRED = {
    "": ["activity_id", "actor", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time", "type_uid"],
    "metadata": ["product", "version"],
    "databucket": ["type_id"],
    "databucket.file": ["name", "type_id"],
    "attestation.fingerprint": ["algorithm_id", "value"],
}
AT_LEAST_ONE = {"": ["database", "databucket", "table"], "actor": ["process", "user", "invoked_by", "session", "app_name"],
                "actor.user": ["account", "name", "uid"], "src_endpoint": ["ip", "uid", "name", "hostname"],
                "databucket": ["name", "uid"], "attestation": ["fingerprint", "signatures"], "policy": ["name", "uid"],
                "metadata.product": ["name", "uid"]}
NUMBERS = {"activity_id": range(0, 11), "severity_id": range(0, 7), "status_id": (0, 1, 2), "action_id": (0, 1, 2),
           "disposition_id": range(0, 28), "type_id": (2,), "category_uid": (6,), "class_uid": (6005,)}


@pytest.fixture(scope="module")
def used(system, client, auditor, backend):
    """Some of everything, with names that are hard on formats."""
    system.put(client, 'odd/"a", b\n=c', b"x" * 10)
    system.get(client, 'odd/"a", b\n=c')
    client.list(system.propose("LIST", "odd/"))
    for _ in range(2):
        with pytest.raises(Refused):
            system.get(client, "none")
    with pytest.raises(Refused):
        client.cosign(system.propose("GET", "x", gatekeeper="another"))
    client.remove(system.propose("DELETE", 'odd/"a", b\n=c'))
    operator(system).revoke(user="=HYPERLINK(1)", why="-1+2")
    return system


def export(system, *arguments):
    done = system.twokey("audit", "export", *arguments, *system.connection("gatekeeper", AUDITOR))
    assert done.code == 0, done.err.decode()
    return done


def test_json_lines_are_the_record(used, auditor):
    lines = [json.loads(line) for line in export(used, "--why", "a copy").out.splitlines()]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    for line in lines:
        record = auditor.record(line["index"])
        assert line.get("object", "") == record.object and line.get("reason", "") == record.reason
    assert lines[-1]["why"] == "a copy"
    some = [json.loads(line) for line in export(used, "--event", "FETCH", "--from", "3").out.splitlines()]
    assert some == [line for line in lines if line["event"] == "FETCH" and line["index"] >= 3]


def test_csv_says_the_same(used):
    lines = {line["index"]: line for line in map(json.loads, export(used).out.splitlines())}
    rows = list(csv.DictReader(io.StringIO(export(used, "--format", "csv").out.decode(), newline="")))
    assert len(rows) > len(lines)  # this export's own record is one more
    for row in rows[:len(lines)]:
        line = lines[int(row["index"])]
        for name, cell in row.items():
            value = line.get(name, "")
            value = str(value).lower() if isinstance(value, bool) else str(value)
            assert cell == ("'" if value[:1] in tuple("=+-@\t\r") and value else "") + value, name
    assert any(row["subject"] == "'=HYPERLINK(1)" for row in rows)


def part(event, path):
    for name in filter(None, path.split(".")):
        event = (event or {}).get(name)
    return event


def check_event(event):
    for path, names in REQUIRED.items():
        found = part(event, path)
        assert found is None or all(name in found for name in names), (path, event)
    for path, names in AT_LEAST_ONE.items():
        found = part(event, path)
        assert found is None or any(name in found for name in names), (path, event)
    for name, allowed in NUMBERS.items():
        assert event[name] in allowed, name
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["metadata"]["profiles"] == ["security_control", "record_integrity"]


def fingerprint(event):
    bare = json.loads(json.dumps(event))
    del bare["attestation"]["fingerprint"]
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def test_ocsf(used):
    done = export(used, "--format", "ocsf")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert b"tell of no access" in done.err
    previous = None
    for event in events:
        check_event(event)
        attestation = event["attestation"]
        assert attestation["fingerprint"] == {"algorithm_id": 3, "algorithm": "SHA-256", "value": fingerprint(event)}
        if previous:
            assert attestation["prev_event"]["fingerprint"]["value"] == previous["attestation"]["fingerprint"]["value"]
            assert attestation["prev_event"]["uid"] == previous["metadata"]["uid"]
        else:
            assert "prev_event" not in attestation
        previous = event
    by_event = {event["unmapped"]["event"]: event for event in events}
    assert set(by_event) == {"COSIGN", "FETCH", "STORE", "LIST", "REMOVE", "COMPLETION"}
    assert {name: by_event[name]["activity_name"] for name in ("FETCH", "STORE", "LIST", "REMOVE")} == \
        {"FETCH": "Read", "STORE": "Write", "LIST": "List", "REMOVE": "Delete"}
    denied = [event for event in events if event["unmapped"].get("decision") == "DENIED"]
    assert denied and all((event["action_id"], event["status_id"]) == (2, 2) for event in denied)
    assert denied[-1]["status_code"] == "AUDIENCE_MISMATCH"
    missed = [event for event in events if event.get("status_code") == "OBJECT_NOT_FOUND"]
    assert missed and all((event["action_id"], event["status_id"]) == (1, 2) for event in missed)
    stored = by_event["STORE"]
    assert stored["databucket"]["name"] == "reports" and stored["actor"]["user"]["name"] == stored["unmapped"]["subject"]


def test_other_formats_are_refused(used):
    assert used.twokey("audit", "export", "--format", "xml", *used.connection("gatekeeper", AUDITOR)).code == 2


@pytest.fixture(scope="module")
def receipt(system, tmp_path_factory):
    """A receipt that `twokey store` kept, and the file that it stored."""
    folder = tmp_path_factory.mktemp("receipt")
    content = folder / "content"
    content.write_bytes(bytes(range(256)) * 100)
    done = system.twokey("authorize", "put", "reports/receipt.bin", "--gatekeeper", "gatekeeper", "--subject", "dr.bell",
                         "--output", folder / "envelope", *system.connection("vendor", BACKEND))
    assert done.code == 0, done.err.decode()
    done = system.twokey("store", folder / "envelope", content, "--receipt", folder / "receipt", *system.connection())
    assert done.code == 0, done.err.decode()
    return folder / "receipt", content


def verify(system, *arguments, key=None):
    return system.twokey("receipt", "verify", *arguments, "--key", key or system.gatekeeper.audit_pem)


def test_a_receipt_is_good(system, receipt):
    path, content = receipt
    done = verify(system, path)
    assert done.code == 0 and b"good: stored reports/receipt.bin, 25600 bytes" in done.out, done
    done = verify(system, path, content)
    assert done.code == 0 and b"the content is the receipt's" in done.out


def test_a_receipt_is_bad(system, receipt, tmp_path):
    path, content = receipt
    other = tmp_path / "other"
    other.write_bytes(content.read_bytes()[:-1] + b"!")
    assert b"not the content" in verify(system, path, other).err
    other.write_bytes(content.read_bytes()[:-1])
    assert verify(system, path, other).code == 1
    done = verify(system, path, key=system.vendor.audit_pem)
    assert done.code == 1 and b"none of the keys" in done.err
    envelope = json.loads(path.read_text())
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[-1] ^= 1
    changed = tmp_path / "changed"
    changed.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    assert verify(system, changed).code == 1
    assert verify(system, tmp_path / "missing").code == 1
    assert system.twokey("receipt", "verify", path).code == 2


def test_securesystemslib_says_the_same(system, receipt):
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path, _ = receipt
    envelope = Envelope.from_dict(json.loads(path.read_text()))
    keyid = next(iter(envelope.signatures))

    def key_of(pem):
        return SSlibKey.from_crypto(load_pem_public_key(pem.read_bytes()), keyid=keyid)

    assert len(envelope.verify([key_of(system.gatekeeper.audit_pem)], 1)) == 1
    with pytest.raises(VerificationError):
        envelope.verify([key_of(system.vendor.audit_pem)], 1)


def test_reindex_offline_and_beside_a_server(make_system):
    system = make_system()
    client, ledger = system.client(), system.gatekeeper.folder / "ledger"
    system.put(client, "re/index", b"x")
    done = system.twokey("audit", "reindex", ledger)
    assert done.code == 0 and b"makes a new one" in done.out

    def found():
        try:
            return system.client("gatekeeper", AUDITOR).search(object="re/index", event=6)[0]
        except Refused:
            return None

    assert len(until(found, 60, "the index is there again")) == 1
    system.gatekeeper.stop()
    (ledger / "index.sqlite3").write_bytes(b"not a database")
    done = system.twokey("audit", "reindex", ledger)
    assert done.code == 0 and b"records can be searched" in done.out, done
    assert system.twokey("audit", "reindex", system.folder).code == 1
    system.gatekeeper.start()
    assert len(until(found, 60, "the index is open")) == 1
