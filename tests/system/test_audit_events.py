"""Every event of docs/AUDIT.md: what makes it, and that it is there."""
import os
import pathlib
import re
import ssl
import socket
import threading

import grpc
import pytest

from support import pki
from support.client import Refused
from support.deployment import AUDITOR, BACKEND, OPEN_RULES, OPERATOR
from support.operator import operator
from support.process import until

GRANTED, DENIED = 1, 2
DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "AUDIT.md"


@pytest.fixture(scope="module")
def busy(make_module_system):
    return make_module_system()


def search(system, party="gatekeeper", **fields):
    """Also right after a start: the index opens beside the service."""
    client = system.client(party, AUDITOR)

    def attempt():
        try:
            return client.search(**fields)
        except Refused as refusal:
            assert refusal.reason == "SEARCH_UNAVAILABLE", refusal
            return None

    return until(attempt, 60, "the search index is open")[0]


def newest(system, event, party="gatekeeper", **fields):
    found = search(system, party, event=event, limit=1, **fields)
    return found[0] if found else None


def refused(call):
    with pytest.raises(Refused) as refusal:
        call()
    return refusal.value


def start(system):
    assert newest(system, 1).detail.startswith("twokey ")


def stop(system):
    system.gatekeeper.restart()
    assert newest(system, 2).index < newest(system, 1).index
    assert newest(system, 17) is None or newest(system, 17).index < newest(system, 2).index


def authorize(system):
    granted = system.client("vendor", BACKEND).authorize("get", "reports", "a")
    assert granted and newest(system, 3, "vendor", decision=GRANTED).object == "a"
    refusal = refused(lambda: system.client("vendor").authorize("get", "reports", "b"))
    assert newest(system, 3, "vendor", decision=DENIED).reason == refusal.reason == "CALLER_UNAUTHENTICATED"


def cosign(system):
    client = system.client()
    answer = client.cosign(system.propose("GET", "c"))
    assert newest(system, 4, decision=GRANTED).index == answer.record
    refusal = refused(lambda: client.cosign(system.propose("GET", "c", gatekeeper="another")))
    record = newest(system, 4, decision=DENIED)
    assert (record.index, record.reason) == (refusal.record, "AUDIENCE_MISMATCH")


def transfer(event, act):
    def check(system):
        client = system.client()
        try:
            system.put(client, "t", b"ten  bytes")
        except Refused:
            pass  # it is there already
        act(system, client)
        granted = newest(system, event, decision=GRANTED)
        ended = newest(system, 9)
        assert (ended.decision_index, ended.outcome) == (granted.index, "complete")
        # A use that is spent is refused, on record, and begins nothing.
        envelope = system.propose("GET", "nothing")
        refused(lambda: client.fetch(envelope))
        refusal = refused(lambda: client.fetch(envelope))
        assert newest(system, 5, decision=DENIED).index == refusal.record

    return check


def completion(system):
    refusal = refused(lambda: system.get(system.client(), "is not there"))
    record = newest(system, 9)
    assert (record.decision_index, record.outcome) == (refusal.record, "OBJECT_NOT_FOUND")


def interrupted(system):
    """A store that is under way when the process is killed."""
    client, held, record = system.client(), threading.Event(), []
    envelope = system.propose("PUT", "cut/off")

    def chunks():
        yield b"x" * 1000
        held.wait(120)

    def upload():
        try:
            client.store(envelope, chunks())
        except (Refused, grpc.RpcError):
            pass

    worker = threading.Thread(target=upload)
    worker.start()
    try:
        grant = until(lambda: newest(system, 6, object="cut/off", decision=GRANTED), 60, "the store is granted")
        for _ in range(2):  # also when it dies again
            system.gatekeeper.kill()
            system.gatekeeper.start()
    finally:
        held.set()
        worker.join(60)
    ended = search(system, event=9, object="cut/off")
    assert [(record.decision_index, record.outcome) for record in ended] == [(grant.index, "interrupted")]
    assert (ended[0].subject, ended[0].transaction_id, ended[0].address) == \
        (grant.subject, grant.transaction_id, grant.address)
    assert ended[0].index < newest(system, 1).index, "before anything is served"


def request(system):
    refused(lambda: system.client().raw("/twokey.v1.Gatekeeper/Nonsense", b""))
    assert newest(system, 10).reason == "UNKNOWN_METHOD"


def malformed(system):
    refused(lambda: system.client().raw("/twokey.v1.Gatekeeper/CoSign", b"\xff\xff\xff"))
    assert newest(system, 4, decision=DENIED).reason == "MALFORMED"


def recovery(system):
    """A torn last write, made by hand: the beginning of a frame behind the last one."""
    system.gatekeeper.stop()
    segment = sorted((system.gatekeeper.folder / "ledger" / "log").glob("*.seg"))[-1]
    data = segment.read_bytes()
    end = len(data.rstrip(b"\0"))
    first = data.index(b"\xa5", 4096)
    with open(segment, "r+b") as file:
        file.seek(end)
        file.write(data[first:first + 8])
    system.gatekeeper.start()
    assert "cut short" in newest(system, 11).detail


def audit(system):
    system.client("gatekeeper", AUDITOR).search(subject="x")
    assert system.client("gatekeeper", AUDITOR).search(event=12, limit=2)[0][1].detail == "search subject=x limit=10000"
    refused(lambda: system.client().search())
    assert newest(system, 12, decision=DENIED).reason == "CALLER_UNAUTHENTICATED"


def restriction(system):
    record = operator(system).revoke(user="mallory", why="a table")
    assert newest(system, 13, decision=GRANTED).index == record
    refused(lambda: operator(system, identity=AUDITOR).revoke(user="nobody"))
    assert newest(system, 13, decision=DENIED).reason == "CALLER_NOT_ALLOWED"


def policy(system):
    assert newest(system, 14).sha256
    system.set_rules("version: 2\n")
    refused(lambda: operator(system).reload(why="a mistake"))
    assert newest(system, 14, decision=DENIED).reason == "RULES_INVALID"
    system.set_rules(OPEN_RULES)


def key(system):
    assert system.twokey("key", "status", *system.connection("gatekeeper", OPERATOR)).code == 0
    assert newest(system, 15, decision=GRANTED).identity == OPERATOR
    assert system.twokey("key", "use", "transaction", "9", "--why", "x", *system.connection("gatekeeper", OPERATOR)).code
    assert newest(system, 15, decision=DENIED).identity == OPERATOR


def handshake(system):
    """A client certificate of somebody else's authority."""
    stranger = pki.Authority(system.folder / "stranger", "Stranger CA").client("mallory.example")
    host, port = system.gatekeeper.address.split(":")
    context = ssl.create_default_context(cafile=str(system.authority.path))
    context.load_cert_chain(stranger.certificate, stranger.key)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, int(port)), timeout=30) as plain, context.wrap_socket(plain) as secure:
            secure.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            while secure.recv(4096):
                pass
    except OSError:
        pass  # refused, as it should
    record = until(lambda: newest(system, 16), 60, "the refused handshake is on record")
    assert record.decision == DENIED and "refused" in record.detail and "certificate" in record.detail.lower()


def gap(system):
    before = newest(system, 1)
    system.gatekeeper.kill()
    system.gatekeeper.start()
    record = newest(system, 17)
    assert record.index > before.index and "did not end in good order" in record.detail


CASES = {"START": start, "STOP": stop, "AUTHORIZE": authorize, "COSIGN": cosign,
         "FETCH": transfer(5, lambda system, client: system.get(client, "t")),
         "STORE": transfer(6, lambda system, client: system.put(client, f"t/{os.urandom(4).hex()}", b"x")),
         "LIST": transfer(7, lambda system, client: client.list(system.propose("LIST", "t"))),
         "REMOVE": transfer(8, lambda system, client: client.remove(system.propose("DELETE", "t"))),
         "COMPLETION": completion, "COMPLETION interrupted": interrupted, "REQUEST": request,
         "COSIGN malformed": malformed, "RECOVERY": recovery, "AUDIT": audit, "RESTRICTION": restriction, "POLICY": policy,
         "KEY": key, "HANDSHAKE": handshake, "GAP": gap}


@pytest.mark.parametrize("case", CASES)
def test_event(busy, case):
    CASES[case](busy)


def test_every_documented_event_has_a_case():
    rows = re.findall(r"^\| ([A-Z, ]+) \| ([0-9, ]+) \| ", DOCUMENT.read_text(), re.M)
    documented = dict(pair for names, numbers in rows for pair in zip(names.split(", "), map(int, numbers.split(", "))))
    from twokey.v1 import audit_pb2

    for name, number in documented.items():
        assert audit_pb2.Event.Value("EVENT_" + name) == number
    assert set(range(1, 18)) <= set(documented.values())
    assert set(documented) <= {case.split()[0] for case in CASES} | {
        name for name, number in documented.items() if number > 17}
