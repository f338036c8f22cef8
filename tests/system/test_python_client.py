"""A client written from the .proto files alone does everything the service offers."""
import hashlib
import os
import time

import grpc
import pytest

from support.client import Refused
from support.deployment import BACKEND


def test_authorize_cosign_store_fetch_list_remove(system, backend, client):
    data = os.urandom(100_000)
    proposal = backend.authorize("PUT", "reports", "python/one.bin", purpose="a test", correlation_id="c-1")
    assert len(proposal.envelope.signatures) == 1 and len(proposal.transaction_id) == 16
    cosigned = client.cosign(proposal.envelope)
    assert len(cosigned.envelope.signatures) == 2
    assert cosigned.envelope.payload == proposal.envelope.payload
    assert cosigned.envelope.signatures[0] == proposal.envelope.signatures[0]

    stored = client.store(cosigned.envelope, data, content_type="application/x-test")
    assert (stored.bytes, stored.sha256) == (len(data), hashlib.sha256(data).digest())

    fetched = client.fetch(backend.authorize("GET", "reports", "python/one.bin").envelope)
    assert fetched.data == data
    assert fetched.head.content_type == "application/x-test" and fetched.head.object_size == len(data)
    assert len(fetched.head.envelope.signatures) == 2  # co-signed in the same call

    entries, tail = client.list(backend.authorize("LIST", "reports", "python/").envelope)
    assert [(entry.object, entry.size) for entry in entries] == [("python/one.bin", len(data))]
    assert entries[0].stored_size > len(data)
    assert abs(entries[0].modified.seconds - time.time()) < 120

    client.remove(backend.authorize("DELETE", "reports", "python/one.bin").envelope)
    with pytest.raises(Refused) as refused:
        client.fetch(backend.authorize("GET", "reports", "python/one.bin").envelope)
    assert refused.value.reason == "OBJECT_NOT_FOUND" and refused.value.code == grpc.StatusCode.NOT_FOUND


def test_the_transaction_says_what_was_asked(backend, client):
    asked = {"networks": ["127.0.0.0/8"], "max_bytes": 1000, "content_type": "text/plain", "uses": 3}
    answer = backend.authorize("PUT", "reports", "python/said.txt", subject="nurse", account="ward-7", lifetime_seconds=60,
                               purpose="why", correlation_id="c-2", constraints=asked)
    made = client.types.Transaction.FromString(answer.envelope.payload)
    assert (made.operation, made.gatekeeper, made.bucket, made.object) == (client.types.OPERATION_PUT, "gatekeeper",
                                                                           "reports", "python/said.txt")
    assert (made.account, made.subject, made.purpose, made.correlation_id) == ("ward-7", "nurse", "why", "c-2")
    assert made.expires_at.seconds - made.issued_at.seconds == 60 and answer.expires_at == made.expires_at
    assert made.constraints == client.types.Constraints(**asked)
    assert made.id == answer.transaction_id


# (constraints, bytes, content type, the refusal or None)
PUT_CONSTRAINTS = [
    ({"exact_bytes": 10}, b"0123456789", "", None),
    ({"exact_bytes": 10}, b"012345678", "", "CONTENT_MISMATCH"),
    ({"exact_bytes": 10}, b"01234567890", "", "CONTENT_MISMATCH"),
    ({"max_bytes": 10}, b"0123456789", "", None),
    ({"max_bytes": 10}, b"01234567890", "", "CONTENT_MISMATCH"),
    ({"content_sha256": hashlib.sha256(b"right").digest()}, b"right", "", None),
    ({"content_sha256": hashlib.sha256(b"right").digest()}, b"wrong", "", "CONTENT_MISMATCH"),
    ({"content_type": "text/plain"}, b"x", "text/plain", None),
    ({"content_type": "text/plain"}, b"x", "text/html", "CONTENT_MISMATCH"),
    ({"networks": ["192.0.2.0/24"]}, b"x", "", "NETWORK_DENIED"),
    ({"networks": ["192.0.2.0/24", "127.0.0.0/8"]}, b"x", "", None),
]


@pytest.mark.parametrize("number", range(len(PUT_CONSTRAINTS)))
def test_what_narrows_an_upload(system, client, number):
    constraints, data, content_type, reason = PUT_CONSTRAINTS[number]
    name = f"python/narrow-{number}"
    envelope = system.propose("PUT", name, **constraints)
    if reason is None:
        client.store(envelope, data, content_type=content_type)
        assert system.get(client, name).data == data
        return
    with pytest.raises(Refused) as refused:
        client.store(envelope, data, content_type=content_type)
    assert refused.value.reason == reason
    with pytest.raises(Refused) as refused:  # and nothing was left behind
        system.get(client, name)
    assert refused.value.reason == "OBJECT_NOT_FOUND"


SEGMENT = 65536
RANGES = [(0, 1), (0, 10), (5, 1), (65_479, 2), (65_480, 1), (SEGMENT, SEGMENT), (199_999, 1), (199_999, 1000),
          (100_000, 100_000), (0, 200_000), (0, 10**12), (1, 199_999)]


def test_ranges(system, client):
    data = os.urandom(200_000)
    system.put(client, "python/ranges", data)
    for first, length in RANGES:
        fetched = system.get(client, "python/ranges", range=(first, length))
        assert fetched.data == data[first:first + length], (first, length)
        assert (fetched.head.first, fetched.head.object_size) == (first, len(data))
    for first in (200_000, 200_001, 2**62):
        with pytest.raises(Refused) as refused:
            system.get(client, "python/ranges", range=(first, 1))
        assert refused.value.reason == "RANGE_INVALID"


def test_an_operation_cannot_be_used_for_another(system, client):
    system.put(client, "python/op", b"x")
    calls = {"GET": client.fetch, "PUT": lambda e: client.store(e, b"y"), "LIST": client.list, "DELETE": client.remove}
    for allowed in calls:
        for tried, call in calls.items():
            if tried == allowed:
                continue
            with pytest.raises(Refused) as refused:
                call(system.propose(allowed, "python/op"))
            assert refused.value.reason == "OPERATION_MISMATCH", (allowed, tried)
    assert system.get(client, "python/op").data == b"x"


@pytest.mark.parametrize("fields, reason", [
    ({"gatekeeper": "another"}, "AUDIENCE_MISMATCH"),
    ({"lifetime": 301}, "LIFETIME_TOO_LONG"),
    ({"now": time.time() - 1000}, "EXPIRED"),
    ({"now": time.time() + 86400}, "NOT_YET_VALID"),
    ({"subject": ""}, "MALFORMED"),
    ({"networks": ["not a network"]}, "MALFORMED"),
    ({"max_bytes": 5}, "MALFORMED"),  # PUT only
    ({"uses": 1001}, "MALFORMED"),
])
def test_what_a_vendor_may_not_sign(system, client, fields, reason):
    """The vendor's signature holds, and yet."""
    with pytest.raises(Refused) as refused:
        client.cosign(system.propose("GET", "python/x", **fields))
    assert refused.value.reason == reason


def test_cosign_may_be_asked_again(system, client):
    """A lost answer can be asked for again; it spends nothing, and a use is still spent once."""
    system.put(client, "python/again", b"again")
    envelope = system.propose("GET", "python/again")
    records = {client.cosign(envelope).record for _ in range(5)}
    assert len(records) == 5
    cosigned = client.cosign(envelope).envelope
    assert client.cosign(cosigned).envelope.payload == envelope.payload  # also when it has both already
    assert client.fetch(cosigned).data == b"again"
    for spent in (cosigned, envelope):
        with pytest.raises(Refused) as refused:
            client.fetch(spent)
        assert refused.value.reason == "REPLAYED"


def test_uses_are_counted(system, client):
    system.put(client, "python/uses", b"x")
    envelope = system.propose("GET", "python/uses", uses=3)
    for _ in range(3):
        client.fetch(envelope)
    with pytest.raises(Refused) as refused:
        client.fetch(envelope)
    assert refused.value.reason == "REPLAYED"


def test_an_id_names_one_transaction_for_ever(system, client):
    from support import dsse

    first = dsse.transaction("GET", "reports", "python/id-1")
    client.cosign(dsse.sign(first.SerializeToString(), system.stolen))
    first.object = "python/id-2"
    with pytest.raises(Refused) as refused:
        client.cosign(dsse.sign(first.SerializeToString(), system.stolen))
    assert refused.value.reason == "ID_REUSED"


def test_a_broken_upload_leaves_nothing(system, client, auditor):
    """The client goes away in the middle of a Store."""
    envelope = system.propose("PUT", "python/broken")

    def half():
        yield os.urandom(300_000)
        raise RuntimeError("the client dies here")

    with pytest.raises(Refused):
        client.store(envelope, half())
    with pytest.raises(Refused) as refused:
        system.get(client, "python/broken")
    assert refused.value.reason == "OBJECT_NOT_FOUND"
    leftovers = [path for path in system.objects() if b"python/broken" in bytes(path)]
    assert not leftovers


def test_the_callers_deadline_is_obeyed(system):
    data = os.urandom(20_000_000)
    client = system.client()
    system.put(client, "python/slow", data)
    slow = client.stub.Fetch(client.pb.FetchRequest(envelope=system.propose("GET", "python/slow")), timeout=0.5)
    next(slow)  # and never read on: flow control stops the server
    with pytest.raises(grpc.RpcError):
        time.sleep(0.7)  # the deadline itself is what is tested
        for _ in slow:
            pass
    assert slow.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_health_by_the_standard_protocol(system):
    from grpc.health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(system.client().channel)
    for service in ("", "twokey.v1.Gatekeeper"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_authorize_needs_the_backends_certificate(system):
    for identity, reason in ((None, "CALLER_UNAUTHENTICATED"), ("auditor.test.example", "CALLER_NOT_ALLOWED")):
        with pytest.raises(Refused) as refused:
            system.client("vendor", identity).authorize("GET", "reports", "x")
        assert refused.value.reason == reason
    assert system.client("vendor", BACKEND).authorize("GET", "reports", "x").envelope


def test_a_certificate_of_another_authority_is_not_believed(system, tmp_path):
    from support import pki
    from support.client import Client

    stranger = pki.Authority(tmp_path, "another CA").client(BACKEND)
    with Client(system.vendor.address, system.authority.path, stranger, timeout=10) as client:
        with pytest.raises(Refused) as refused:
            client.authorize("GET", "reports", "x")
    assert refused.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
