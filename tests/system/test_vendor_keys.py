"""Vendor keys come, overlap and go while the gatekeeper serves: by Policy.Reload, by SIGHUP, within the times that the
configuration gives them; taken whole or refused whole; and each step is on record."""
import datetime
import signal

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support import dsse, pki
from support.client import Refused
from support.deployment import AUDITOR, OPERATOR
from support.operator import operator
from support.process import until

HOUR = datetime.timedelta(hours=1)


def vendor_key(system, name, **times):
    """An entry of vendor_keys, and the private half of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    (system.gatekeeper.folder / f"{name}.pem").write_bytes(pki.public_pem(key))
    return {"name": name, "public_key": f"{name}.pem", **{field: stamp(time) for field, time in times.items()}}, key


def stamp(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def proposed(system, key):
    return dsse.sign(dsse.transaction("GET", system.bucket, "x").SerializeToString(), key)


def decision(client, envelope):
    """The reason of a refusal; "" when it was granted."""
    try:
        client.cosign(envelope)
        return ""
    except Refused as refused:
        return refused.reason


def trust(system, entries):
    system.gatekeeper.config["vendor_keys"] = entries
    system.gatekeeper.write()


def names(text):
    return [line.split()[0] for line in text.splitlines()]


@pytest.mark.parametrize("how", ["rpc", "sighup"])
def test_a_key_is_added_and_withdrawn(make_system, how):
    system = make_system()
    client, boss, auditor = system.client(), operator(system), system.client("gatekeeper", AUDITOR)
    before = list(system.gatekeeper.config["vendor_keys"])
    entry, key = vendor_key(system, "acme-2")

    def reload(wanted):
        if how == "rpc":
            assert names(boss.reload(why="rotation").vendor_keys) == wanted
        else:
            system.gatekeeper.daemon.signal(signal.SIGHUP)
            until(lambda: names(policy_records(auditor)[0].vendor_keys) == wanted, what="SIGHUP")

    assert decision(client, proposed(system, key)) == "SIGNATURE_INVALID"
    trust(system, [*before, entry])
    assert decision(client, proposed(system, key)) == "SIGNATURE_INVALID", "not yet"
    reload(["acme", "stolen", "acme-2"])
    assert decision(client, proposed(system, key)) == "" and decision(client, system.propose("GET", "x")) == ""
    trust(system, [before[0], entry])
    reload(["acme", "acme-2"])
    assert decision(client, proposed(system, key)) == ""
    refusal = pytest.raises(Refused, client.cosign, system.propose("GET", "x")).value
    assert refusal.reason == "SIGNATURE_INVALID"
    record = auditor.record(refusal.record)
    assert record.reason == "SIGNATURE_INVALID" and record.vendor_key == ""

    # On record: what was trusted from when on, and who wanted it so.
    records = policy_records(auditor)
    assert [names(record.vendor_keys) for record in records] == [["acme", "acme-2"], ["acme", "stolen", "acme-2"],
                                                                 ["acme", "stolen"]]
    assert records[0].identity == (OPERATOR if how == "rpc" else "")
    assert records[0].why == ("rotation" if how == "rpc" else "SIGHUP") and records[2].why == "start"
    assert f"acme-2 {dsse.keyid(key)}\n" in records[0].vendor_keys


def policy_records(auditor):
    return auditor.search(event=auditor.audit_pb.EVENT_POLICY)[0]


def test_before_inside_and_after(make_system):
    """The window of each key, at the start and when it is moved: an overlap is two windows at once."""
    system = make_system(start=False)
    first, first_key = vendor_key(system, "first", not_before=now() - HOUR, not_after=now() + HOUR)
    second, second_key = vendor_key(system, "second", not_before=now() + HOUR)
    trust(system, [first, second])
    system.start()
    client, boss = system.client(), operator(system)

    def decisions():
        return [decision(client, proposed(system, key)) for key in (first_key, second_key)]

    assert decisions() == ["", "SIGNATURE_INVALID"], "the second one's time has not come"
    trust(system, [first, {**second, "not_before": stamp(now() - HOUR)}])
    told = boss.reload()
    assert told.vendor_keys_changed and not told.changed
    assert f"first {dsse.keyid(first_key)} from {first['not_before'][:-1]}.000Z until" in told.vendor_keys
    assert decisions() == ["", ""], "overlap"
    trust(system, [{**first, "not_after": stamp(now() - 2 * datetime.timedelta(minutes=1))},
                   {**second, "not_before": stamp(now() - HOUR)}])
    boss.reload()
    assert decisions() == ["SIGNATURE_INVALID", ""], "the first one's time is over"
    assert not boss.reload().vendor_keys_changed


WRONG = {
    "no such file": lambda system, entry: ([{**entry, "public_key": "nowhere.pem"}], "nowhere.pem"),
    "no key": lambda system, entry: ([{**entry, "public_key": "rules.yaml"}], "no PEM block"),
    "the same key twice": lambda system, entry: ([entry, {**entry, "name": "again"}], "is the same key as"),
    "our own": lambda system, entry: ([{**entry, "public_key": "gatekeeper.transaction.pem"}], "two signatures need two keys"),
    "ends before it begins": lambda system, entry: ([{**entry, "not_before": "2030-01-01T00:00:00Z",
                                                      "not_after": "2029-01-01T00:00:00Z"}], "it ends before it begins"),
    "none": lambda system, entry: ([], "at least one"),
    "an unknown setting": lambda system, entry: ([{**entry, "notafter": "2030-01-01"}], "twokey.yaml:"),
}


@pytest.fixture(scope="module")
def steady(make_module_system):
    return make_module_system()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_changes_nothing(steady, what):
    system = steady
    client, boss, auditor = system.client(), operator(system), system.client("gatekeeper", AUDITOR)
    before = list(system.gatekeeper.config["vendor_keys"])
    rules = system.gatekeeper.folder / "rules.yaml"
    good = rules.read_text()
    entry, key = vendor_key(system, "acme-2")
    entries, told = WRONG[what](system, entry)
    trust(system, entries)
    try:
        with pytest.raises(Refused) as refused:
            boss.reload()
        assert refused.value.reason == "RULES_INVALID" and told in refused.value.message
        record = auditor.record(refused.value.record)
        assert record.decision == auditor.audit_pb.DECISION_DENIED and told in record.detail and not record.vendor_keys
        assert decision(client, proposed(system, key)) == "SIGNATURE_INVALID"
        assert decision(client, system.propose("GET", "x")) == ""
        done = system.twokey("policy", "reload", *system.connection("gatekeeper", OPERATOR))
        assert done.code == 3 and told.encode() in done.err
    finally:
        trust(system, before)
        assert rules.read_text() == good
    assert not boss.reload().vendor_keys_changed


def test_wrong_rules_keep_new_keys_out(steady):
    """Both are taken, or neither."""
    system = steady
    client, boss = system.client(), operator(system)
    before, rules = list(system.gatekeeper.config["vendor_keys"]), system.gatekeeper.folder / "rules.yaml"
    good = rules.read_text()
    entry, key = vendor_key(system, "acme-2")
    trust(system, [*before, entry])
    system.set_rules("rules: 7\n")
    with pytest.raises(Refused):
        boss.reload()
    assert decision(client, proposed(system, key)) == "SIGNATURE_INVALID"
    system.set_rules(good)
    done = system.twokey("policy", "reload", *system.connection("gatekeeper", OPERATOR))
    assert done.code == 0 and b"vendor keys:\nacme " in done.out and b"\nacme-2 " in done.out
    assert decision(client, proposed(system, key)) == ""
    trust(system, before)
    boss.reload()
