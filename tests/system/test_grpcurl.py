"""An operator with grpcurl, an address, the CA and a client certificate needs nothing else: no .proto files."""
import base64
import hashlib
import json

import pytest

from support.deployment import AUDITOR, BACKEND
from support.process import run


@pytest.fixture
def grpcurl(system):
    def call(party, *words, identity=None, body=None, flags=()):
        """grpcurl [-cert -key] [-d body] address words... Returns the result of the process."""
        argv = ["grpcurl", *flags, "-cacert", str(system.authority.path), "-max-time", "20"]
        if identity:
            paths = system.identities[identity]
            argv += ["-cert", str(paths.certificate), "-key", str(paths.key)]
        if body is not None:
            argv += ["-d", "@"]
        stdin = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        return run([*argv, getattr(system, party).address, *words], stdin=stdin)

    return call


def answer(done):
    assert done.code == 0, done.err.decode()
    return json.loads(done.out)


def answers(done):
    """The messages of a stream: JSON documents one after the other."""
    assert done.code == 0, done.err.decode()
    decoder, text, found = json.JSONDecoder(), done.out.decode().strip(), []
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


def propose(grpcurl, operation, object_, **more):
    body = {"operation": f"OPERATION_{operation}", "gatekeeper": "gatekeeper", "bucket": "reports", "object": object_,
            "subject": "dr.bell", **more}
    return answer(grpcurl("vendor", "twokey.v1.Gatekeeper/Authorize", identity=BACKEND, body=body))["envelope"]


@pytest.mark.parametrize("party", ["vendor", "gatekeeper"])
def test_list_shows_every_service(grpcurl, party):
    done = grpcurl(party, "list")
    assert done.code == 0, done.err
    services = set(done.out.decode().split())
    assert {"twokey.v1.Gatekeeper", "twokey.v1.Audit", "grpc.health.v1.Health"} <= services
    assert any(name.startswith("grpc.reflection.v1") for name in services)


@pytest.mark.parametrize("symbol, expected", [
    ("twokey.v1.Gatekeeper", "rpc CoSign ( .twokey.v1.CoSignRequest ) returns ( .twokey.v1.CoSignResponse );"),
    ("twokey.v1.Gatekeeper.Fetch", "returns ( stream .twokey.v1.FetchResponse )"),
    ("twokey.v1.Transaction", ".google.protobuf.Timestamp expires_at = 10;"),
    ("twokey.v1.Constraints", "repeated string networks = 1;"),
    ("twokey.v1.Operation", "OPERATION_GET = 1;"),
    ("twokey.v1.Audit", "rpc Search"),
])
def test_describe(grpcurl, symbol, expected):
    done = grpcurl("gatekeeper", "describe", symbol)
    assert done.code == 0, done.err
    assert expected in done.out.decode()


def test_describe_of_nothing_says_so(grpcurl):
    done = grpcurl("gatekeeper", "describe", "twokey.v1.Nothing")
    assert done.code != 0 and b"not found" in done.err.lower()


def test_health(grpcurl):
    assert answer(grpcurl("gatekeeper", "grpc.health.v1.Health/Check", body={})) == {"status": "SERVING"}
    named = {"service": "twokey.v1.Gatekeeper"}
    assert answer(grpcurl("gatekeeper", "grpc.health.v1.Health/Check", body=named)) == {"status": "SERVING"}
    unknown = grpcurl("gatekeeper", "grpc.health.v1.Health/Check", body={"service": "nobody"})
    assert unknown.code != 0 and b"NotFound" in unknown.err


def test_the_main_job(grpcurl):
    """Authorize, CoSign, Store, and Fetch: what goes in comes out."""
    data = b"by grpcurl alone"
    proposal = propose(grpcurl, "PUT", "grpcurl/one.txt")
    assert len(proposal["signatures"]) == 1
    cosigned = answer(grpcurl("gatekeeper", "twokey.v1.Gatekeeper/CoSign", body={"envelope": proposal}))["envelope"]
    assert len(cosigned["signatures"]) == 2 and cosigned["payload"] == proposal["payload"]

    messages = [{"head": {"envelope": cosigned, "contentType": "text/plain"}},
                {"chunk": base64.b64encode(data[:5]).decode()}, {"chunk": base64.b64encode(data[5:]).decode()},
                {"tail": {"bytes": len(data)}}]
    stream = "\n".join(json.dumps(message) for message in messages).encode()
    stored = answer(grpcurl("gatekeeper", "twokey.v1.Gatekeeper/Store", body=stream))
    assert stored["bytes"] == str(len(data))
    assert base64.b64decode(stored["sha256"]) == hashlib.sha256(data).digest()
    assert len(stored["receipt"]["signatures"]) == 1

    proposal = propose(grpcurl, "GET", "grpcurl/one.txt")
    parts = answers(grpcurl("gatekeeper", "twokey.v1.Gatekeeper/Fetch", body={"envelope": proposal}))
    assert parts[0]["head"]["contentType"] == "text/plain"
    assert b"".join(base64.b64decode(part["chunk"]) for part in parts[1:-1]) == data
    assert base64.b64decode(parts[-1]["tail"]["sha256"]) == hashlib.sha256(data).digest()

    proposal = propose(grpcurl, "LIST", "grpcurl/")
    pages = answers(grpcurl("gatekeeper", "twokey.v1.Gatekeeper/List", body={"envelope": proposal}))
    assert [entry["object"] for page in pages for entry in page.get("objects", [])] == ["grpcurl/one.txt"]

    proposal = propose(grpcurl, "DELETE", "grpcurl/one.txt")
    assert "receipt" in answer(grpcurl("gatekeeper", "twokey.v1.Gatekeeper/Remove", body={"envelope": proposal}))


def test_a_refusal_says_why_and_where_to_look(grpcurl):
    proposal = propose(grpcurl, "GET", "grpcurl/other.txt")
    payload = bytearray(base64.b64decode(proposal["payload"]))
    payload[-1] ^= 1
    proposal["payload"] = base64.b64encode(payload).decode()
    done = grpcurl("gatekeeper", "twokey.v1.Gatekeeper/Fetch", body={"envelope": proposal}, flags=["-format-error"])
    assert done.code != 0
    told = json.loads(done.err[done.err.index(b"{"):])
    assert told["code"] == 16  # UNAUTHENTICATED
    detail = next(part for part in told["details"] if part["@type"] == "type.googleapis.com/google.rpc.ErrorInfo")
    assert detail["reason"] == "SIGNATURE_INVALID" and detail["domain"] == "twokey"

    index = detail["metadata"]["record"]
    record = answer(grpcurl("gatekeeper", "twokey.v1.Audit/Get", identity=AUDITOR, body={"index": index}))
    assert record["reason"] == "SIGNATURE_INVALID" and record["decision"] == "DECISION_DENIED"
    assert record["userAgent"].startswith("grpcurl")


def test_the_record_needs_a_certificate_with_the_role(grpcurl):
    for identity, reason in ((None, "CALLER_UNAUTHENTICATED"), (BACKEND, "CALLER_NOT_ALLOWED")):
        done = grpcurl("gatekeeper", "twokey.v1.Audit/Search", identity=identity, body={}, flags=["-format-error"])
        assert done.code != 0 and reason.encode() in done.err
    found = answers(grpcurl("gatekeeper", "twokey.v1.Audit/Search", identity=AUDITOR, body={"limit": 5}))
    assert found[-1]["tail"]["committed"] != "0"


def test_the_wrong_deployment_says_which_one_has_the_method(grpcurl):
    done = grpcurl("gatekeeper", "twokey.v1.Gatekeeper/Authorize", identity=BACKEND, body={"object": "x"})
    assert done.code != 0 and b"Unimplemented" in done.err and b"vendor" in done.err
    done = grpcurl("vendor", "twokey.v1.Gatekeeper/CoSign", identity=BACKEND, body={})
    assert done.code != 0 and b"Unimplemented" in done.err and b"gatekeeper" in done.err


def test_plaintext_is_not_spoken(system):
    done = run(["grpcurl", "-plaintext", "-max-time", "5", system.gatekeeper.address, "list"])
    assert done.code != 0
