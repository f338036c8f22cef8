"""The HTTP front: what a browser may do and gets, and what one that misbehaves does not."""
import base64
import hashlib
import os
import socket
import struct
import threading

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from support import dsse, pki, web
from support.deployment import AUDITOR, BACKEND, OPERATOR
from support.operator import operator
from support.process import until
from test_token_tls import certified

pytestmark = pytest.mark.timeout(300)

ORIGIN = "https://example.com"
WEB = {"listen": "127.0.0.1:0", "origins": [ORIGIN, "https://reports.acme.example:8443"]}
BIG = 24 << 20


@pytest.fixture(scope="module")
def system(make_module_system):
    made = make_module_system(gatekeeper={"web": WEB, "limits": {"flood": 0, "max_streams": 8}}, vendor={"web": WEB})
    client = made.client()
    made.put(client, "a/one", b"one" * 100000)
    made.put(client, "a/two", b"")
    made.put(client, "big", os.urandom(BIG))
    return made


@pytest.fixture(scope="module")
def browser(system):
    return web.Browser(system)


@pytest.fixture(scope="module")
def boss(system):
    return operator(system)


def last_record(auditor, **fields):
    return auditor.search(limit=1, **fields)[0][0]


# ---- the same methods ----

@pytest.mark.parametrize("text", [False, True])
def test_fetch(system, browser, text):
    data, answer = browser.fetch(system.propose("GET", "a/one"), text=text)
    assert answer.code == 0 and data == b"one" * 100000
    tail = browser.pb.FetchResponse.FromString(answer.messages[-1]).tail
    assert tail.bytes == len(data) and tail.sha256 == hashlib.sha256(data).digest()


def test_an_empty_object(system, browser):
    data, answer = browser.fetch(system.propose("GET", "a/two"))
    assert answer.code == 0 and data == b"" and len(answer.messages) == 2


@pytest.mark.parametrize("text", [False, True])
def test_unary_list_and_remove(system, browser, text):
    system.put(system.client(), "gone", b"x")
    answer = browser.call("CoSign", browser.pb.CoSignRequest(envelope=system.propose("GET", "a/one")), text=text)
    assert answer.code == 0
    assert len(browser.pb.CoSignResponse.FromString(answer.messages[0]).envelope.signatures) == 2
    answer = browser.call("List", browser.pb.ListRequest(envelope=system.propose("LIST", "a/")), text=text)
    pages = [browser.pb.ListResponse.FromString(message) for message in answer.messages]
    assert [entry.object for page in pages for entry in page.objects] == ["a/one", "a/two"]
    answer = browser.call("Remove", browser.pb.RemoveRequest(envelope=system.propose("DELETE", "gone")), text=text)
    assert answer.code == 0 and len(answer.messages) == 1


def test_a_refusal_says_why_and_is_on_record(system, browser, auditor):
    envelope = system.propose("GET", "a/one")
    assert browser.fetch(envelope)[1].code == 0
    _, answer = browser.fetch(envelope, headers={"user-agent": "Mozilla/5.0 (a test)"})
    assert (answer.code, answer.reason) == (7, "REPLAYED") and not answer.messages
    record = auditor.record(answer.record)
    assert record.reason == "REPLAYED" and record.address == "127.0.0.1" and record.user_agent == "Mozilla/5.0 (a test)"
    assert record.method == "/twokey.v1.Gatekeeper/Fetch" and record.object == "a/one"


def test_what_is_not_offered(system, browser, auditor):
    for method, reason in (("Authorize", "GATEKEEPER_CANNOT"), ("Nothing", "UNKNOWN_METHOD")):
        answer = browser.call(method)
        assert (answer.code, answer.reason) == (12, reason)
        assert auditor.record(answer.record).reason == reason


def test_health(browser):
    answer = browser.call("/grpc.health.v1.Health/Check")
    assert answer.code == 0 and answer.messages == [b"\x08\x01"]


def test_holder_proof(system, browser):
    key = ec.generate_private_key(ec.SECP256R1())
    named = {"holder_key_sha256": hashlib.sha256(pki.public_der(key)).digest()}
    envelope = system.propose("GET", "a/one", **named)
    assert browser.fetch(envelope)[1].reason == "HOLDER_PROOF_INVALID"
    proof = dsse.holder_proof(envelope, key, "/twokey.v1.Gatekeeper/Fetch")
    answer = browser.call("Fetch", browser.pb.FetchRequest(envelope=envelope, proof=proof))
    assert answer.code == 0
    stored = system.propose("PUT", "held", **named)
    assert browser.put(stored, b"x")[1]["reason"] == "HOLDER_PROOF_INVALID"
    assert browser.put(stored, b"x", dsse.holder_proof(stored, key, web.STORE))[0] == 200


def test_malformed_bodies(system, browser, auditor):
    whole = web.frame(browser.pb.FetchRequest(envelope=system.propose("GET", "a/one")).SerializeToString())
    bodies = [b"", whole[:-1], whole + b"x", whole + whole, b"\1" + whole[1:], b"\x80" + whole[1:], whole[:4],
              b"\0\xff\xff\xff\xff", web.frame(b"\xff" * 20)]
    for body in bodies:
        answer = browser.call("Fetch", body=body)
        assert answer.code in (3, 8) and answer.reason in ("MALFORMED", "TOO_LARGE"), body[:20]
        assert auditor.record(answer.record).reason == answer.reason
    answer = browser.call("Fetch", text=True, body=b"not base64!")
    assert answer.reason == "MALFORMED"
    for body in (web.frame(b"x" * (65 << 10)), b"x" * (1 << 20)):
        assert browser.call("CoSign", body=body).reason == "TOO_LARGE"


def test_http_that_is_no_call(browser):
    for method, path, headers, status in (("GET", "/", {}, 404), ("GET", "/twokey.v1.Gatekeeper/Fetch", {}, 404),
                                          ("POST", "/twokey.v1.Gatekeeper/Fetch", {"content-type": "text/plain"}, 415),
                                          ("POST", "/twokey.v1.Gatekeeper/Fetch", {}, 415),
                                          ("PUT", "/twokey.v1.Gatekeeper/Fetch", {}, 405),
                                          ("PUT", "/elsewhere", {}, 405), ("DELETE", "/", {}, 405),
                                          ("TRACE", "/", {}, 405), ("OPTIONS", "*", {}, 405)):
        assert browser.request(method, path, None, headers)[0] == status, (method, path)
    assert browser.call("Fetch", headers={"grpc-timeout": "soon"}).status == 400
    assert browser.request("GET", "/", None, {"x": "y" * 200000})[0] in (413, 431)


# ---- deadlines, and who goes away ----

def test_deadline(system, browser, auditor):
    """Nothing is to come: the call ends when its time is over."""
    answer = browser.call("/grpc.health.v1.Health/Watch", headers={"grpc-timeout": "300m"})
    assert answer.code in (1, 4) and answer.messages == [b"\x08\x01"]


def completions(auditor, object_):
    return [record for record in auditor.search(object=object_, event=9)[0]]


def test_a_browser_that_goes_frees_its_stream(system, browser, auditor):
    before = len(completions(auditor, "big"))
    for _ in range(12):  # more than streams at once
        connection = browser.begin_fetch(system.propose("GET", "big"))
        assert connection.recv(1000)
        connection.close()
    until(lambda: len(completions(auditor, "big")) == before + 12, 60, "all fetches to end")
    assert {record.outcome for record in completions(auditor, "big")[:12]} == {"CLIENT_GONE"}


def test_browsers_that_neither_take_nor_bring_anything_are_cut_off(system, browser, auditor):
    """Most streams are taken by browsers that read nothing, one by a browser that stops in the middle of an upload, without
    a word; and connections wait that never ask for anything."""
    before = len(completions(auditor, "big"))
    envelope = base64.urlsafe_b64encode(system.propose("PUT", "half").SerializeToString())
    plain, tls, upload = socket.create_connection((browser.host, browser.port), 60), browser.raw(), browser.raw()
    tls.sendall(b"POST / HTTP/1.1\r\nX: ")
    upload.sendall(b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nx-twokey-envelope: %s\r\n\r\nabc" %
                   (web.STORE.encode(), envelope))
    stuck = [browser.begin_fetch(system.propose("GET", "big"), receive_buffer=4096) for _ in range(5)]
    until(lambda: len(completions(auditor, "big")) == before + 5, 60, "all fetches to end")
    ended = completions(auditor, "big")[:5]
    assert {record.outcome for record in ended} == {"CLIENT_GONE"} and all(record.bytes < BIG for record in ended)
    until(lambda: completions(auditor, "half"), 60, "the upload to end")
    assert completions(auditor, "half")[0].outcome == "CLIENT_GONE"
    assert browser.fetch(system.propose("GET", "half"))[1].reason == "OBJECT_NOT_FOUND"
    for connection in (plain, tls):
        connection.settimeout(60)
        assert connection.recv(1) == b"", "closed by the gatekeeper"
    for connection in (plain, tls, upload, *stuck):
        connection.close()


def test_revoked_while_streaming(system, browser, boss, auditor):
    connection = browser.begin_fetch(system.propose("GET", "big"))
    assert connection.recv(1000)
    boss.revoke(object="big")
    try:
        until(lambda: completions(auditor, "big")[0].outcome == "REVOKED", 60, "the fetch to be cut")
        rest = b""
        while not rest.endswith(b"0\r\n\r\n") and (part := connection.recv(1 << 20)):
            rest += part
        assert len(rest) < BIG and b"grpc-status:0" not in rest
    except (ConnectionError, OSError):
        pass  # cut in the middle of a message
    finally:
        boss.reinstate(object="big")
        connection.close()


# ---- Store ----

def test_put(system, browser, auditor):
    for size in (0, 1, 65536, 1 << 20, 5 << 20):
        data = os.urandom(size)
        status, answer = browser.put(system.propose("PUT", f"put/{size}"), data, headers={"content-type": "image/png"})
        assert status == 200 and int(answer["bytes"]) == size
        assert base64.b64decode(answer["sha256"]) == hashlib.sha256(data).digest()
        assert len(answer["envelope"]["signatures"]) == 2 and answer["receipt"]["payloadType"] == dsse.RECEIPT
        assert auditor.record(int(answer["record"])).object == f"put/{size}"
        assert browser.fetch(system.propose("GET", f"put/{size}"))[0] == data
    data = os.urandom(3 << 20)
    assert browser.put(system.propose("PUT", "put/chunked"), web.pieces(data))[0] == 200
    assert browser.fetch(system.propose("GET", "put/chunked"))[0] == data


def test_put_refusals(system, browser, auditor):
    spent = system.propose("PUT", "put/once")
    assert browser.put(spent, b"x")[0] == 200
    for envelope, body, status, reason in (
            (None, b"x", 400, "MALFORMED"),
            (spent, b"x" * (2 << 20), 403, "REPLAYED"),
            (system.propose("GET", "put/once"), b"x", 403, "OPERATION_MISMATCH"),
            (system.propose("PUT", "put/once"), b"x", 409, "OBJECT_EXISTS"),
            (system.propose("PUT", "put/short", exact_bytes=5), b"x", 400, "CONTENT_MISMATCH"),
            (system.propose("PUT", "put/long", max_bytes=5), b"x" * (1 << 20), 400, "CONTENT_MISMATCH")):
        got, answer = browser.put(envelope, body)
        assert (got, answer["reason"], answer["domain"]) == (status, reason, "twokey")
        assert auditor.record(int(answer["metadata"]["record"])).event != 0
    got, answer = browser.put(None, b"x", headers={"x-twokey-envelope": "no base64 !"})
    assert (got, answer["reason"]) == (400, "MALFORMED")
    got, answer = browser.put(None, b"x", headers={"x-twokey-envelope": "A" * 40000})
    assert (got, answer["reason"]) == (429, "TOO_LARGE")


@pytest.mark.parametrize("name, ending", [("cut", b"Content-Length: 1000\r\n\r\nabc"),
                                          ("chunked", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")])
def test_an_upload_that_breaks_leaves_nothing(system, browser, auditor, name, ending):
    envelope = base64.urlsafe_b64encode(system.propose("PUT", name).SerializeToString())
    with browser.raw() as connection:
        connection.sendall(b"PUT %s HTTP/1.1\r\nHost: x\r\nx-twokey-envelope: %s\r\n%s" %
                           (web.STORE.encode(), envelope, ending))
        until(lambda: auditor.search(object=name, event=6, decision=1)[0], 60, "the upload to begin")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: completions(auditor, name), 60, "the upload to end")
    assert completions(auditor, name)[0].outcome == "CLIENT_GONE"
    assert browser.fetch(system.propose("GET", name))[1].reason == "OBJECT_NOT_FOUND"


# ---- origins ----

@pytest.mark.parametrize("origin, allowed", [
    (ORIGIN, True), ("https://reports.acme.example:8443", True), ("https://evilexample.com", False),
    ("https://example.com.evil", False), ("https://Example.com", False), ("http://example.com", False),
    ("https://example.com:8443", False), ("https://reports.acme.example", False), ("null", False), ("", False),
    ("https://127.0.0.1", False)])
def test_origins(system, browser, origin, allowed):
    status, headers, _ = browser.request("OPTIONS", "/twokey.v1.Gatekeeper/Fetch", None,
                                         {"Origin": origin, "Access-Control-Request-Method": "POST",
                                          "Access-Control-Request-Headers": "content-type,x-grpc-web"})
    assert headers.get("vary") == "Origin" and "access-control-allow-credentials" not in headers
    assert headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert status == (204 if allowed else 403)
    if allowed:
        assert int(headers["access-control-max-age"]) >= 600
        assert {"content-type", "x-grpc-web", "grpc-timeout", "x-twokey-envelope", "x-twokey-holder-proof"} <= set(
            headers["access-control-allow-headers"].split(", "))
    answer = browser.call("CoSign", browser.pb.CoSignRequest(envelope=system.propose("GET", "a/one")),
                          headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert (answer.status, answer.code) == ((200, 0) if allowed else (403, None))


def test_no_origin_two_origins_and_our_own(system, browser):
    request = browser.pb.CoSignRequest(envelope=system.propose("GET", "a/one"))
    assert browser.call("CoSign", request).code == 0
    assert browser.call("CoSign", request, headers={"Origin": browser.origin}).code == 0
    body = web.frame(request.SerializeToString())
    with browser.raw() as connection:
        connection.sendall(b"POST /twokey.v1.Gatekeeper/CoSign HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\nOrigin: null\r\n"
                           b"content-type: application/grpc-web\r\ncontent-length: %d\r\n\r\n%s" %
                           (ORIGIN.encode(), len(body), body))
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


# ---- client certificates ----

def test_operators_need_their_certificate(system, browser, auditor):
    request = auditor.audit_pb.SearchRequest(limit=3).SerializeToString()
    answer = browser.call("/twokey.v1.Audit/Search", request)
    assert (answer.code, answer.reason) == (16, "CALLER_UNAUTHENTICATED")
    answer = web.Browser(system, identity=BACKEND).call("/twokey.v1.Audit/Search", request)
    assert (answer.code, answer.reason) == (7, "CALLER_NOT_ALLOWED")
    answer = web.Browser(system, identity=AUDITOR).call("/twokey.v1.Audit/Search", request)
    assert answer.code == 0 and auditor.audit_pb.SearchResponse.FromString(answer.messages[0]).records[0].identity == AUDITOR
    answer = web.Browser(system, identity=OPERATOR).call("/twokey.v1.Policy/ListRestrictions")
    assert answer.code == 0
    assert web.Browser(system, "vendor", AUDITOR).call("/twokey.v1.Audit/Search", request).code == 0


def test_a_stranger_s_certificate_counts_for_nothing(system, auditor, tmp_path):
    system.identities["stranger"] = pki.Authority(tmp_path, "another CA").client(AUDITOR)
    answer = web.Browser(system, identity="stranger").call("/twokey.v1.Audit/Search")
    assert (answer.code, answer.reason) == (16, "CALLER_UNAUTHENTICATED")


# ---- many, and the end ----

def read_until(connection, end):
    received = b""
    while end not in received:
        part = connection.recv(1 << 16)
        assert part, f"ended before {end}: {received[-300:]}"
        received += part
    return received


def test_many_at_once(make_system):
    """200 streams stay open at once, others are served meanwhile, and all are told when the end comes."""
    system = make_system(gatekeeper={"web": WEB})
    system.put(system.client(), "a", b"bytes")
    browser = web.Browser(system)
    held = []
    for _ in range(200):
        held.append(browser.raw())
        held[-1].sendall(b"POST /grpc.health.v1.Health/Watch HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                         b"content-type: application/grpc-web\r\n\r\n\0\0\0\0\0")
        read_until(held[-1], b"\x08\x01")
    assert browser.fetch(system.propose("GET", "a"))[0] == b"bytes"
    assert system.gatekeeper.stop() == 0
    for connection in held:
        assert b"grpc-status:14" in read_until(connection, b"0\r\n\r\n")
        connection.close()


def test_a_drain_lets_streams_end_and_cuts_the_rest(make_system):
    system = make_system(gatekeeper={"web": WEB, "limits": {"drain": 1}})
    system.put(system.client(), "big", os.urandom(BIG))
    browser = web.Browser(system)
    connection = browser.begin_fetch(system.propose("GET", "big"), receive_buffer=4096)
    assert connection.recv(1000)
    assert system.gatekeeper.stop() == 0
    connection.close()


def test_key_in_the_token(make_system):
    system = certified(make_system, gatekeeper={"web": WEB})
    system.start()
    system.put(system.client(), "a", b"bytes")
    browser = web.Browser(system)
    for _ in range(20):
        assert browser.fetch(system.propose("GET", "a"))[0] == b"bytes"
    with browser.raw() as connection:
        assert connection.getpeercert(binary_form=True)
        assert connection.version() == "TLSv1.3"
    assert web.Browser(system, identity=AUDITOR).call("/twokey.v1.Audit/Search").code == 0


@pytest.mark.parametrize("origin", ["*", "https://Example.com", "https://example.com/", "null", "example.com"])
def test_configuration_mistakes(make_system, origin):
    system = make_system(start=False, gatekeeper={"web": {"listen": "127.0.0.1:0", "origins": [origin]}})
    done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
    assert done.code == 1 and b"origin" in done.err, done.err
