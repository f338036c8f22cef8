"""What operators take back: at once, durably, for whoever it is meant for and nobody else."""
import threading
import time

import grpc
import pytest

from support.client import Refused
from support.deployment import AUDITOR, BACKEND, OPERATOR
from support.operator import CommandOperator, GrpcurlOperator, operator
from support.process import until

CUT_WITHIN = 1.0
SLOW_BYTES = 24 << 20


@pytest.fixture(scope="module")
def boss(system):
    return operator(system)


@pytest.fixture(scope="module")
def stored(system, client):
    for name in ("a/one", "a/two", "b/one"):
        system.put(client, name, name.encode())


def reason_of(call, *arguments, **fields):
    """The reason of a refusal; "" when there is none."""
    try:
        call(*arguments, **fields)
        return ""
    except Refused as refused:
        return refused.reason


def gets(system, client, name, **fields):
    return reason_of(system.get, client, name, **fields)


@pytest.fixture(params=["grpcio", "grpcurl", "command"])
def hand(request, system, boss):
    """Each way to change restrictions."""
    return {"grpcio": lambda: boss, "grpcurl": lambda: GrpcurlOperator(system),
            "command": lambda: CommandOperator(system)}[request.param]()


# What is revoked, and a request that it must stop; others go on.
TARGETS = [
    ({"object": "a/one"}, {"name": "a/one"}),
    ({"object": "a/one", "bucket": "reports"}, {"name": "a/one"}),
    ({"prefix": "a/"}, {"name": "a/two"}),
    ({"user": "mallory"}, {"name": "a/one", "subject": "mallory"}),
    ({"account": "evil"}, {"name": "a/one", "account": "evil"}),
    ({"vendor_key": "stolen"}, None),
]


@pytest.mark.parametrize("target, stopped", TARGETS)
def test_revoke_and_reinstate(system, client, boss, stored, hand, target, stopped):
    request = dict(stopped or {"name": "a/one"})
    name = request.pop("name")
    assert gets(system, client, name, **request) == ""
    hand.revoke(**dict(target))
    assert gets(system, client, name, **request) == "REVOKED"
    if stopped:
        assert gets(system, client, "b/one") == ""
    hand.reinstate(**dict(target))
    assert gets(system, client, name, **request) == ""


def test_revoke_in_another_bucket_changes_nothing(system, client, boss, stored):
    boss.revoke(object="a/one", bucket="elsewhere")
    assert gets(system, client, "a/one") == ""
    boss.reinstate(object="a/one", bucket="elsewhere")


def test_one_transaction(system, client, boss, stored, hand):
    one, other = (system.propose("GET", "a/one") for _ in range(2))
    transaction = client.types.Transaction.FromString(one.payload)
    hand.revoke(transaction_id=transaction.id)
    assert reason_of(client.cosign, one) == "REVOKED" and reason_of(client.fetch, one) == "REVOKED"
    assert reason_of(client.fetch, other) == ""
    hand.reinstate(transaction_id=transaction.id)
    assert reason_of(client.fetch, one) == ""


def test_every_operation_is_stopped(system, client, boss, stored):
    boss.revoke(prefix="ops/")
    assert reason_of(system.put, client, "ops/x", b"1") == "REVOKED"
    assert reason_of(client.remove, system.propose("DELETE", "ops/x")) == "REVOKED"
    assert reason_of(client.cosign, system.propose("GET", "ops/x")) == "REVOKED"
    for prefix, expected in (("ops/", "REVOKED"), ("ops/deep/", "REVOKED"), ("op", "REVOKED"), ("", "REVOKED"), ("a/", "")):
        assert reason_of(client.list, system.propose("LIST", prefix)) == expected, prefix
    boss.reinstate(prefix="ops/")
    assert reason_of(client.list, system.propose("LIST", "")) == ""


@pytest.mark.parametrize("what", [{"object": "a/one"}, {"prefix": "a"}])
def test_expiry_set_moved_removed(system, client, boss, stored, hand, what):
    hand.expire("2030-01-01T00:00:00Z", **dict(what)) if hand is not boss else boss.expire(time.time() + 1e6, **what)
    assert gets(system, client, "a/one") == ""
    hand.expire("2020-01-01T00:00:00Z", **dict(what)) if hand is not boss else boss.expire(time.time() - 1, **what)
    assert gets(system, client, "a/one") == "OBJECT_EXPIRED"
    assert gets(system, client, "b/one") == ""
    hand.expire(None, **dict(what))
    assert gets(system, client, "a/one") == ""


def test_an_expiry_comes_by_itself(system, client, boss, stored):
    boss.expire(time.time() + 1.5, object="a/one")
    assert gets(system, client, "a/one") == ""
    until(lambda: gets(system, client, "a/one") == "OBJECT_EXPIRED", what="the expiry")
    boss.expire(object="a/one")


def test_users_of_an_object(system, client, boss, stored, hand):
    hand.add_user("a/one", "dr.bell")
    assert gets(system, client, "a/one") == ""
    assert gets(system, client, "a/one", subject="dr.lee") == "USER_NOT_LISTED"
    assert gets(system, client, "a/two", subject="dr.lee") == ""
    hand.add_user("a/one", "dr.lee")
    assert gets(system, client, "a/one", subject="dr.lee") == ""
    hand.remove_user("a/one", "dr.bell")
    assert gets(system, client, "a/one") == "USER_NOT_LISTED"
    hand.remove_user("a/one", "dr.lee")
    assert gets(system, client, "a/one", subject="dr.lee") == "USER_NOT_LISTED", "an empty list lets nobody in"
    hand.remove_user("a/one", "")
    assert gets(system, client, "a/one") == ""


def test_lockdown_stops_everything(system, client, boss, stored, hand):
    hand.lockdown()
    assert gets(system, client, "a/one") == "LOCKDOWN"
    assert reason_of(system.put, client, "x", b"1") == "LOCKDOWN"
    assert reason_of(client.list, system.propose("LIST", "")) == "LOCKDOWN"
    assert reason_of(client.cosign, system.propose("GET", "a/one")) == "LOCKDOWN"
    hand.lockdown(release=True)
    assert gets(system, client, "a/one") == ""


# ---- the record, and who may ----

def test_changes_are_on_record_with_who_and_why(system, boss, auditor):
    index = boss.revoke(object="rec/ord", bucket="reports", why="lost laptop")
    record = auditor.record(index)
    assert record.event == auditor.audit_pb.EVENT_RESTRICTION and record.decision == auditor.audit_pb.DECISION_GRANTED
    assert (record.identity, record.why, record.bucket, record.object) == (OPERATOR, "lost laptop", "reports", "rec/ord")
    assert record.restriction_action == auditor.audit_pb.RESTRICTION_ACTION_REVOKE
    one, = [one for one in boss.restrictions() if one.name == "rec/ord"]
    assert (one.who, one.why, one.record, one.bucket, one.revoked) == (OPERATOR, "lost laptop", index, "reports", True)
    boss.reinstate(object="rec/ord", bucket="reports")
    assert not [one for one in boss.restrictions() if one.name == "rec/ord"]


@pytest.mark.parametrize("identity, reason", [(None, "CALLER_UNAUTHENTICATED"), (BACKEND, "CALLER_NOT_ALLOWED"),
                                              (AUDITOR, "CALLER_NOT_ALLOWED")])
@pytest.mark.parametrize("party", ["vendor", "gatekeeper"])
def test_only_operators_change_anything(system, client, stored, auditor, party, identity, reason):
    other = operator(system, party, identity)
    calls = [lambda: other.lockdown(), lambda: other.lockdown(release=True), lambda: other.revoke(object="a/one"),
             lambda: other.reinstate(object="a/one"), lambda: other.expire(1, object="a/one"),
             lambda: other.add_user("a/one", "x"), lambda: other.remove_user("a/one", "x")]
    if party == "gatekeeper":
        calls.append(lambda: other.reload())
    for call in calls:
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.reason == reason
        if party == "gatekeeper":
            assert auditor.record(refused.value.record).decision == auditor.audit_pb.DECISION_DENIED
    assert gets(system, client, "a/one") == ""


def test_auditors_may_look(system, stored):
    auditor = operator(system, identity=AUDITOR)
    assert auditor.restrictions() == [] and auditor.rules().rules == 1
    assert auditor.explain("GET", "a/one").allowed
    nobody = operator(system, identity=None)
    for call in (nobody.restrictions, nobody.rules, lambda: nobody.explain("GET", "a/one")):
        assert reason_of(call) == "CALLER_UNAUTHENTICATED"


@pytest.mark.parametrize("why", ["", "x" * 513])
def test_a_change_needs_a_reason_of_a_person(system, client, boss, stored, why):
    for call in (lambda: boss.lockdown(why=why), lambda: boss.revoke(object="a/one", why=why)):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.reason == "MALFORMED" and "why" in refused.value.message
    assert gets(system, client, "a/one") == ""


def test_what_is_malformed_is_refused(system, boss):
    pb = boss.policy_pb
    calls = [lambda: boss.revoke(transaction_id=b"short"), lambda: boss.revoke(object=""), lambda: boss.revoke(prefix=""),
             lambda: boss.revoke(object="x" * 1025), lambda: boss.revoke(user="u" * 257), lambda: boss.revoke(account=""),
             lambda: boss.add_user("a", ""), lambda: boss.remove_user("a", "x", whole_list=True)]
    for number, call in enumerate(calls):
        assert reason_of(call) == "MALFORMED", number
    with pytest.raises(grpc.RpcError) as error:
        boss.policy.Revoke(pb.RevokeRequest(why="x"), timeout=20)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert boss.restrictions() == []


def test_what_is_not_there_cannot_be_taken_back(boss):
    for call in (lambda: boss.reinstate(object="nothing"), lambda: boss.expire(object="nothing"),
                 lambda: boss.remove_user("nothing", "x"), lambda: boss.remove_user("nothing", whole_list=True),
                 lambda: boss.lockdown(release=True)):
        assert reason_of(call) == "NO_SUCH_RESTRICTION"


# ---- both roles ----

def test_a_vendor_deployment_locks_down_and_revokes_too(system):
    vendor, backend = operator(system, "vendor"), system.client("vendor", BACKEND)
    backend.authorize("GET", "reports", "v/x")
    vendor.revoke(user="dr.bell")
    assert reason_of(backend.authorize, "GET", "reports", "v/x") == "REVOKED"
    vendor.reinstate(user="dr.bell")
    vendor.lockdown()
    assert reason_of(backend.authorize, "GET", "reports", "v/x") == "LOCKDOWN"
    vendor.lockdown(release=True)
    backend.authorize("GET", "reports", "v/x")
    assert reason_of(vendor.rules) == "VENDOR_CANNOT"


def test_the_kill_switch_needs_no_vendor(make_system):
    system = make_system()
    client, boss = system.client(), operator(system)
    system.put(client, "x", b"1")
    system.vendor.kill()
    done = system.twokey("policy", "lockdown", "--why", "the vendor is gone", *system.connection("gatekeeper", OPERATOR))
    assert done.code == 0, done.err
    assert gets(system, client, "x") == "LOCKDOWN"
    assert [one.why for one in boss.restrictions()] == ["the vendor is gone"]
    system.vendor.daemon = None


# ---- restarts ----

def everything(system, boss):
    """One of each kind."""
    boss.revoke(prefix="r/")
    boss.revoke(user="mallory")
    boss.revoke(object="r/gone")
    boss.reinstate(object="r/gone")
    boss.revoke(transaction_id=b"0123456789abcdef")
    boss.expire(time.time() - 1, object="e/one", bucket="reports")
    boss.expire(4e9, prefix="e/")
    boss.add_user("u/one", "dr.bell")
    boss.add_user("u/one", "dr.lee")
    boss.remove_user("u/one", "dr.bell")
    boss.add_user("u/none", "dr.lee")
    boss.remove_user("u/none", "dr.lee")


def state(boss):
    return sorted(one.SerializeToString(deterministic=True) for one in boss.restrictions())


@pytest.mark.parametrize("end", ["restart", "kill -9", "no snapshot", "a forged snapshot"])
def test_restrictions_survive(make_system, end):
    system = make_system()
    everything(system, operator(system))
    before = state(operator(system))
    assert len(before) == 7
    gatekeeper, snapshot = system.gatekeeper, system.gatekeeper.folder / "ledger" / "restrictions.snapshot"
    for _ in range(2):
        if end == "kill -9":
            gatekeeper.kill()
        else:
            assert gatekeeper.stop() == 0
            assert snapshot.exists()
        if end == "no snapshot":
            snapshot.unlink()
        elif end == "a forged snapshot":
            text = bytearray(snapshot.read_bytes())
            text[text.index(b"mallory")] ^= 1
            snapshot.write_bytes(text)
        gatekeeper.start()
        assert ("does not count" in gatekeeper.daemon.text()) == (end == "a forged snapshot")
        assert state(operator(system)) == before
        client = system.client()
        assert gets(system, client, "r/x") == "REVOKED" and gets(system, client, "x", subject="mallory") == "REVOKED"
        assert gets(system, client, "e/one") == "OBJECT_EXPIRED"
        assert gets(system, client, "u/one") == "USER_NOT_LISTED" and gets(system, client, "u/none") == "USER_NOT_LISTED"


def test_a_lockdown_survives_kill_9(make_system):
    system = make_system()
    operator(system).lockdown()
    system.gatekeeper.kill()
    system.gatekeeper.start()
    assert gets(system, system.client(), "x") == "LOCKDOWN"
    operator(system).lockdown(release=True)
    system.gatekeeper.kill()
    system.gatekeeper.start()
    assert gets(system, system.client(), "x") == "OBJECT_NOT_FOUND"


# ---- what runs already ----

@pytest.fixture(scope="module")
def big(system, client):
    system.put(client, "big", bytes(SLOW_BYTES))


def begin_download(system, name="big"):
    """A download whose client has taken a little, and takes no more until told."""
    client = system.client(options=[("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)])
    call = client.stub.Fetch(client.pb.FetchRequest(envelope=system.propose("GET", name)), timeout=60)
    head = next(call).head
    next(call)
    return call, head.record


def completion(auditor, decision):
    """The completion record of a decision, once it is there."""
    def look():
        records, _ = auditor.search(event=auditor.audit_pb.EVENT_COMPLETION, limit=50)
        return next((record for record in records if record.decision_index == decision), None)

    return until(look, timeout=10, what="the completion", pause=0.01)


def seconds(timestamp):
    return timestamp.seconds + timestamp.nanos / 1e9


CUTS = [(lambda boss: boss.revoke(object="big"), lambda boss: boss.reinstate(object="big"), "REVOKED"),
        (lambda boss: boss.lockdown(), lambda boss: boss.lockdown(release=True), "LOCKDOWN"),
        (lambda boss: boss.revoke(vendor_key="stolen"), lambda boss: boss.reinstate(vendor_key="stolen"), "REVOKED"),
        (lambda boss: boss.expire(time.time(), object="big"), lambda boss: boss.expire(object="big"), "OBJECT_EXPIRED")]


@pytest.mark.parametrize("cut, undo, reason", CUTS)
def test_a_download_whose_client_takes_nothing_is_cut(system, boss, auditor, big, cut, undo, reason):
    call, decision = begin_download(system)
    change = auditor.record(cut(boss))
    ended = completion(auditor, decision)
    undo(boss)
    assert ended.outcome == reason
    assert seconds(ended.time) - seconds(change.time) <= CUT_WITHIN
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED and reason in error.value.details()


def test_a_slow_download_is_cut(system, boss, auditor, big):
    call, decision = begin_download(system)
    got, ended = [], []

    def read_slowly():
        try:
            for response in call:
                got.append(len(response.chunk))
                time.sleep(0.1)
        except grpc.RpcError as error:
            ended.append(error)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    until(lambda: len(got) >= 3, what="some chunks")
    change = auditor.record(boss.revoke(object="big"))
    last = completion(auditor, decision)
    reader.join(30)
    boss.reinstate(object="big")
    assert last.outcome == "REVOKED" and seconds(last.time) - seconds(change.time) <= CUT_WITHIN
    assert ended and ended[0].code() == grpc.StatusCode.PERMISSION_DENIED
    assert sum(got) < SLOW_BYTES


def test_an_upload_that_waits_for_its_client_is_cut_and_leaves_nothing(system, client, boss, auditor):
    released = threading.Event()

    def chunks():
        yield bytes(1000)
        released.wait(30)
        yield bytes(1000)

    result = []
    writer = threading.Thread(target=lambda: result.append(reason_of(system.put, system.client(), "up/one", chunks())))
    writer.start()
    def granted():
        records, _ = auditor.search(object="up/one", event=auditor.audit_pb.EVENT_STORE)
        return records

    decision = until(granted, what="the upload's grant")[0].index
    change = auditor.record(boss.revoke(object="up/one"))
    last = completion(auditor, decision)
    writer.join(30)
    released.set()
    boss.reinstate(object="up/one")
    assert result == ["REVOKED"] and last.outcome == "REVOKED"
    assert seconds(last.time) - seconds(change.time) <= CUT_WITHIN
    assert gets(system, client, "up/one") == "OBJECT_NOT_FOUND"


def test_other_transfers_go_on(system, boss, big):
    call, _ = begin_download(system)
    boss.revoke(object="something else")
    boss.reinstate(object="something else")
    total = sum(len(response.chunk) for response in call)
    assert SLOW_BYTES - (1 << 20) < total <= SLOW_BYTES


# ---- order: what is granted after a change honours it ----

def test_no_grant_behind_a_revocation(system, boss, auditor, stored):
    """Under load: no granted record stands between a revocation's and its end's."""
    stop, spans = threading.Event(), []

    def load():
        client = system.client()
        while not stop.is_set():
            reason_of(client.fetch, system.propose("GET", "a/two"))
        client.close()

    workers = [threading.Thread(target=load) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(60):
        first = boss.revoke(object="a/two")
        spans.append((first, boss.reinstate(object="a/two")))
    stop.set()
    for worker in workers:
        worker.join(30)
    records, _ = auditor.search(object="a/two", limit=10000)
    served = {record.decision_index for record in records if record.outcome == "complete"}
    assert served, "nothing was served at all"
    for first, last in spans:
        assert not [index for index in served if first < index < last], "served by a decision behind a revocation"
