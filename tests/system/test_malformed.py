"""Garbage, bombs and floods: a clear status each time, and afterwards the service still serves."""
import os
import random
import resource
import socket
import threading

import grpc
import pytest

from support import dsse
from support.process import until
from support.client import Refused
from support.deployment import AUDITOR

S = grpc.StatusCode
METHODS = ["CoSign", "Fetch", "List", "Remove"]
MI = 1 << 20


def path(method):
    return f"/twokey.v1.Gatekeeper/{method}"


@pytest.fixture(autouse=True)
def still_serves(system):
    """After each of these an honest client is served, by the same process, which has not grown fat."""
    pid = system.gatekeeper.daemon.pid
    yield
    assert system.gatekeeper.daemon.running and system.gatekeeper.daemon.pid == pid
    client = system.client()
    key = f"honest/{os.urandom(4).hex()}"
    system.put(client, key, b"served")
    assert system.get(client, key).data == b"served"
    client.close()


def answer(call, *arguments, **options):
    """The status that something gets; None when it succeeds."""
    try:
        call(*arguments, **options)
        return None
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("method", METHODS)
def test_truncated_envelopes(system, client, method):
    """A good request, cut after each of its bytes."""
    pb = client.pb
    request = getattr(pb, f"{method}Request")(envelope=system.propose("GET", "cut")).SerializeToString()
    for length in range(len(request)):
        refusal = answer(client.raw, path(method), request[:length])
        assert refusal is not None and refusal.code in (S.INVALID_ARGUMENT, S.UNAUTHENTICATED), (length, refusal)
        assert refusal.reason in ("MALFORMED", "SIGNATURE_INVALID") and refusal.record is not None


def wrong_types():
    """Requests whose fields have another wire type than the .proto says, and other indecencies."""
    def varint(field, value=1):
        return bytes([field << 3, value])

    def group(field):
        return bytes([field << 3 | 3, field << 3 | 4])

    def bytes_(field, body):
        assert len(body) < 128
        return bytes([field << 3 | 2, len(body)]) + body

    yield "varint for a message", varint(1)
    yield "64 bits for a message", bytes([1 << 3 | 1]) + b"12345678"
    yield "32 bits for a message", bytes([1 << 3 | 5]) + b"1234"
    yield "a group", group(1)
    yield "an end without a group", bytes([1 << 3 | 4])
    yield "wire type 6", bytes([1 << 3 | 6])
    yield "wire type 7", bytes([1 << 3 | 7])
    yield "field 0", varint(0)
    yield "a length beyond the end", bytes([1 << 3 | 2, 127]) + b"x"
    yield "a length of 2^63", bytes([1 << 3 | 2]) + b"\xff" * 8 + b"\x7f"
    yield "an endless varint", bytes([1 << 3]) + b"\xff" * 100
    yield "payload as a number", bytes_(1, varint(1))
    yield "type as a number", bytes_(1, bytes_(1, b"p") + varint(2))
    yield "signature as a number", bytes_(1, bytes_(1, b"p") + bytes_(2, b"t") + varint(3))
    yield "type that is no UTF-8", bytes_(1, bytes_(1, b"p") + bytes_(2, b"\xff\xfe"))
    yield "type with NUL", bytes_(1, bytes_(1, b"p") + bytes_(2, b"a\0b"))
    yield "an unknown field", bytes_(15, b"what is this")
    yield "an empty envelope", bytes_(1, b"")
    yield "five signatures", bytes_(1, bytes_(1, b"p") + bytes_(2, b"t") + bytes_(3, bytes_(1, b"s")) * 5)
    yield "a group nested a thousand times", bytes([1 << 3 | 3]) * 1000 + bytes([1 << 3 | 4]) * 1000


@pytest.mark.parametrize("what, body", list(wrong_types()), ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_wire_types(client, what, body):
    for method in METHODS:
        refusal = answer(client.raw, path(method), body)
        assert refusal is not None, what
        assert refusal.code in (S.INVALID_ARGUMENT, S.UNAUTHENTICATED, S.RESOURCE_EXHAUSTED), (what, refusal)


def test_a_signed_transaction_with_extras_is_refused(system, client):
    """The vendor's key signed it, and yet: unknown fields, fields given twice, bytes that remain."""
    honest = dsse.transaction("GET", "reports", "x").SerializeToString()
    extras = {"an unknown field": honest + b"\xf2\x01\x01x", "a second object": honest + b"\x2a\x01y",
              "a second id": honest + b"\x0a\x10" + os.urandom(16), "bytes that remain": honest + b"\x00",
              "a lone tag": honest + b"\x2a", "an unknown operation": honest.replace(b"\x10\x01", b"\x10\x09", 1)}
    for what, payload in extras.items():
        refusal = answer(client.cosign, dsse.sign(payload, system.stolen))
        assert refusal and refusal.reason == "MALFORMED", (what, refusal)


def test_random_junk(client):
    source = random.Random(4711)
    for _ in range(300):
        refusal = answer(client.raw, path(source.choice(METHODS)), source.randbytes(source.randrange(1, 400)))
        assert refusal is not None and refusal.code in (S.INVALID_ARGUMENT, S.UNAUTHENTICATED, S.RESOURCE_EXHAUSTED)


def test_mutated_requests(system, client):
    """A good, signed request with a few bytes changed: never granted."""
    source = random.Random(4712)
    good = client.pb.CoSignRequest(envelope=system.propose("GET", "mutant")).SerializeToString()
    keyid_at = good.index(dsse.keyid(system.stolen).encode()) - 2  # its tag and length
    for _ in range(300):
        body = bytearray(good)
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(keyid_at)  # the key id after it is a hint that decides nothing
            body[at] ^= 1 << source.randrange(8)
        if bytes(body) == good:
            continue
        refusal = answer(client.raw, path("CoSign"), bytes(body))
        changed = [(at, good[at], body[at]) for at in range(len(good)) if good[at] != body[at]]
        assert refusal is not None, (changed, good.hex())
        assert refusal.code in (S.INVALID_ARGUMENT, S.UNAUTHENTICATED, S.RESOURCE_EXHAUSTED), (changed, refusal)


@pytest.mark.parametrize("size", [17 << 10, 65 << 10, MI + 1, 4 * MI - 100, 4 * MI, 5 * MI, 40 * MI])
@pytest.mark.parametrize("method", ["CoSign", "Fetch", "Store"])
def test_megabytes_of_junk(client, size, method):
    junk = os.urandom(MI) * (size // MI) + os.urandom(size % MI)
    call = (lambda: client.raw_stream(path("Store"), [junk])) if method == "Store" else \
        (lambda: client.raw(path(method), junk))
    refusal = answer(call)
    assert refusal is not None
    assert refusal.code in (S.RESOURCE_EXHAUSTED, S.INVALID_ARGUMENT), refusal


def test_memory_amplification(system, client):
    """A million empty sub-messages: small on the wire, large in memory, were they believed."""
    daemon = system.gatekeeper.daemon
    before = daemon.rss()
    daemon.forget_peak()
    for method, bomb in (("CoSign", b"\x0a\x00" * 30_000), ("CoSign", b"\x0a\xfc\x7f" + b"\x1a\x00" * 8190),
                         ("Fetch", b"\xf2\x01\x00" * 21_000)):
        refusal = answer(client.raw, path(method), bomb)
        assert refusal is not None and refusal.code in (S.INVALID_ARGUMENT, S.RESOURCE_EXHAUSTED), refusal
    assert daemon.peak_rss() - before < 64 * MI


@pytest.mark.parametrize("method", [
    "/twokey.v1.Gatekeeper/NoSuch", "/twokey.v1.NoSuch/Fetch", "/no.such.Service/Method", "/", "//", "/x",
    "/twokey.v1.Gatekeeper/", "/twokey.v1.Gatekeeper/Fetch/", "/twokey.v1.Gatekeeper/fetch", "/" + "a" * 4000,
])
def test_unknown_methods_answer_at_once(client, method):
    refusal = answer(client.raw, method, b"")
    assert refusal is not None and refusal.code == S.UNIMPLEMENTED, refusal


def test_gzip_bomb(system, client):
    """Half a megabyte that would be 512 MiB: compression is not spoken, and nothing is inflated."""
    daemon = system.gatekeeper.daemon
    daemon.forget_peak()
    before = daemon.peak_rss()
    bomb = bytes(128 * MI)
    for method in ("CoSign", "Fetch"):
        refusal = answer(client.raw, path(method), bomb, compression=grpc.Compression.Gzip)
        assert refusal is not None and refusal.code in (S.UNIMPLEMENTED, S.RESOURCE_EXHAUSTED), refusal
    assert daemon.peak_rss() - before < 64 * MI


def test_large_metadata(system):
    client = system.client()
    call = client.channel.unary_unary(path("CoSign"), request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=20, metadata=[(f"x-{number}", "y" * 1000) for number in range(200)])
    assert error.value.code() in (S.RESOURCE_EXHAUSTED, S.INVALID_ARGUMENT, S.UNAVAILABLE, S.INTERNAL)


STREAMS = {
    "no head": [b""],
    "nothing at all": [],
    "a chunk first": ["chunk"],
    "a head twice": ["head", "head"],
    "a head after chunks": ["head", "chunk", "head"],
    "no tail": ["head", "chunk"],
    "a tail that counts otherwise": ["head", "chunk", "short tail"],
    "a tail of other content": ["head", "chunk", "other tail"],
    "a chunk after the tail": ["head", "chunk", "tail", "chunk"],
    "two tails": ["head", "chunk", "tail", "tail"],
    "an empty message after the head": ["head", b""],
    "junk after the head": ["head", b"\xff\xff\xff"],
    "an oversized chunk": ["head", "big"],
}


@pytest.mark.parametrize("what", STREAMS)
def test_store_streams_out_of_order(system, client, what):
    key = f"order/{what}"
    envelope = system.propose("PUT", key)
    pb = client.pb
    made = {"head": pb.StoreRequest(head=pb.StoreHead(envelope=envelope)).SerializeToString(),
            "chunk": pb.StoreRequest(chunk=b"x" * 1000).SerializeToString(),
            "tail": pb.StoreRequest(tail=pb.StoreTail(bytes=1000)).SerializeToString(),
            "short tail": pb.StoreRequest(tail=pb.StoreTail(bytes=999)).SerializeToString(),
            "other tail": pb.StoreRequest(tail=pb.StoreTail(bytes=1000, sha256=bytes(32))).SerializeToString(),
            "big": pb.StoreRequest(chunk=bytes(2 * MI)).SerializeToString()}
    refusal = answer(client.raw_stream, path("Store"), [made.get(word, word) for word in STREAMS[what]])
    assert refusal is not None, "it was taken"
    assert refusal.code in (S.INVALID_ARGUMENT, S.RESOURCE_EXHAUSTED, S.FAILED_PRECONDITION), refusal
    refusal = answer(system.get, client, key)
    assert refusal and refusal.reason == "OBJECT_NOT_FOUND"


def test_what_is_no_http2(system):
    """Plain bytes, a TLS hello that goes nowhere, and HTTP/1 at the TLS port."""
    host, port = system.gatekeeper.address.split(":")
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(5000), b"PRI * HTTP/2.0\r\n"):
        with socket.create_connection((host, int(port)), 10) as raw:
            raw.sendall(words)
            raw.shutdown(socket.SHUT_WR)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionError:
                pass


@pytest.mark.timeout(180)
def test_two_thousand_idle_connections_under_256_descriptors(make_system):
    """The listener survives running out of descriptors; a client that is already there is served meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    system = make_system(start=False)
    system.vendor.start()
    system.gatekeeper.start(prefix=["prlimit", "--nofile=256:256"])
    early = system.client()
    system.put(early, "flood", b"before")
    host, port = system.gatekeeper.address.split(":")
    sockets = []
    try:
        for _ in range(2000):
            one = socket.socket()
            one.settimeout(5)
            sockets.append(one)
            try:
                one.connect((host, int(port)))
            except OSError:
                continue  # refused: also an answer
        assert system.get(early, "flood").data == b"before"
    finally:
        for one in sockets:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    late = system.client(options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)])
    grpc.channel_ready_future(late.channel).result(timeout=60)
    assert system.get(late, "flood").data == b"before"


def test_audit_searches_that_make_no_sense(system):
    auditor = system.client("gatekeeper", AUDITOR)
    for fields in ({"limit": 10_001}, {"transaction_id": b"short"}, {"text": '"unbalanced'}, {"text": "NEAR( OR AND * :"},
                   {"text": "'; DROP TABLE records; --"}, {"object": "\U0001f5dd" * 500}, {"reason": "' OR 1=1"}):
        refusal = answer(auditor.search, **fields)
        assert refusal is None or refusal.code == S.INVALID_ARGUMENT, (fields, refusal)


def test_more_at_once_than_allowed_is_told_so(make_system):
    """Not taken for an unknown method, recorded, and over as soon as there is room."""
    system = make_system(gatekeeper={"limits": {"flood": 0, "max_streams": 1}})
    client, released, arrived = system.client(), threading.Event(), threading.Event()

    def chunks():
        yield b"first"
        arrived.set()
        released.wait(60)

    def stored():  # whoever comes first has the one place: again, when it was the other
        return answer(client.store, system.propose("PUT", "held"), chunks()) is None

    def overloaded():
        refusal = answer(system.get, system.client(), "nothing")
        return refusal if refusal.reason == "OVERLOADED" else None

    writer = threading.Thread(target=lambda: until(stored, what="an upload"))
    writer.start()
    try:
        assert arrived.wait(30)
        refusal = until(overloaded, what="a refusal")
        assert refusal.code == S.RESOURCE_EXHAUSTED, refusal
        assert refusal.record is not None
    finally:
        released.set()
        writer.join(60)
    assert system.get(client, "held").data == b"first"
