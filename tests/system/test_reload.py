"""New rules while the service runs: taken whole or refused whole, by RPC, by SIGHUP, on change, and under load; and what
they would have decided otherwise, before they go live."""
import hashlib
import json
import os
import signal
import threading

import pytest

from support.client import Refused
from support.deployment import AUDITOR, OPEN_RULES, OPERATOR
from support.operator import operator
from support.process import until

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
RELOADS = 1000 if TORTURE else 100

ONLY_A = """
version: 1
rules:
  - name: only-a
    effect: allow
    objects: ["a/**"]
"""
ONLY_B = ONLY_A.replace("only-a", "only-b").replace("a/**", "b/**")
BROKEN = ONLY_A.replace("effect: allow", "effect: perhaps")


def decision(system, client, name):
    """The reason of a refusal; "" when it was granted."""
    try:
        client.cosign(system.propose("GET", name))
        return ""
    except Refused as refused:
        return refused.reason


def both(system, client):
    return decision(system, client, "a/x"), decision(system, client, "b/x")


A, B = ("", "RULE_DENIED"), ("RULE_DENIED", "")


@pytest.fixture
def boss(system):
    yield operator(system)
    write(system, OPEN_RULES)
    operator(system).reload()


def write(system, text):
    """As an editor that knows what it does: beside the file, then renamed."""
    path = system.gatekeeper.folder / "rules.yaml"
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def policy_records(auditor):
    records, _ = auditor.search(event=auditor.audit_pb.EVENT_POLICY, limit=50)
    return records


def test_reload_by_rpc_is_recorded_with_the_digest(system, client, boss, auditor):
    write(system, ONLY_A)
    done = boss.reload(why="quarter's end")
    assert both(system, client) == A and done.changed and done.rules == 1
    assert done.sha256 == hashlib.sha256(ONLY_A.encode()).digest()
    record = auditor.record(done.record)
    assert (record.identity, record.why, record.sha256) == (OPERATOR, "quarter's end", done.sha256)
    assert record.decision == auditor.audit_pb.DECISION_GRANTED
    got = boss.rules()
    assert got.text == ONLY_A.encode() and got.sha256 == done.sha256 and got.trouble == ""
    assert not boss.reload().changed


def test_reload_by_command(system, client, boss):
    write(system, ONLY_B)
    done = system.twokey("policy", "reload", *system.connection("gatekeeper", OPERATOR))
    assert done.code == 0 and b"1 rules in force" in done.out
    assert both(system, client) == B
    done = system.twokey("policy", "get", *system.connection("gatekeeper", AUDITOR))
    assert done.code == 0 and done.out == ONLY_B.encode()


def test_reload_by_sighup(system, client, boss, auditor):
    write(system, ONLY_A)
    system.gatekeeper.daemon.signal(signal.SIGHUP)
    until(lambda: both(system, client) == A, what="SIGHUP")


def test_reload_on_change(system, client, boss, auditor):
    write(system, ONLY_B)
    until(lambda: both(system, client) == B, timeout=10, what="the change")
    assert any(record.why == "the file has changed" for record in policy_records(auditor))


def test_a_broken_file_is_refused_and_the_old_rules_go_on(system, client, boss, auditor):
    write(system, ONLY_A)
    boss.reload()
    write(system, BROKEN)
    with pytest.raises(Refused) as refused:
        boss.reload()
    assert refused.value.reason == "RULES_INVALID" and "rules.yaml:5:13:" in refused.value.message
    record = auditor.record(refused.value.record)
    assert record.decision == auditor.audit_pb.DECISION_DENIED and "rules.yaml:5:13:" in record.detail
    assert both(system, client) == A
    got = boss.rules()
    assert got.text == ONLY_A.encode() and "rules.yaml:5:13:" in got.trouble
    system.gatekeeper.daemon.wait_for_line(r"rules refused.*rules\.yaml:5:13:")
    done = system.twokey("policy", "reload", *system.connection("gatekeeper", OPERATOR))
    assert done.code == 3 and b"RULES_INVALID" in done.err and b":5:13:" in done.err


@pytest.mark.parametrize("text", ["", "version: 1\n", "rules: 7\n", None])
def test_whatever_is_wrong_with_the_file(system, client, boss, text):
    write(system, ONLY_A)
    boss.reload()
    if text is None:
        (system.gatekeeper.folder / "rules.yaml").unlink()
    else:
        write(system, text)
    with pytest.raises(Refused):
        boss.reload()
    system.gatekeeper.daemon.signal(signal.SIGHUP)
    assert both(system, client) == A and system.gatekeeper.daemon.running


def test_check_needs_no_server(system, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(ONLY_A)
    bad.write_text(BROKEN)
    done = system.twokey("policy", "check", good)
    assert done.code == 0 and b"1 rules" in done.out
    done = system.twokey("policy", "check", bad)
    assert done.code == 1 and b"bad.yaml:5:13:" in done.err


# ---- explain ----

RULES = """
version: 1
rules:
  - name: no-drafts
    effect: deny
    objects: ["drafts/**"]
  - name: clinic
    effect: allow
    users: ["*@clinic.example"]
    networks: [10.0.0.0/8]
  - name: late
    effect: allow
    networks: [10.0.0.0/8]
"""


def test_explain_one_request(system, boss):
    write(system, RULES)
    boss.reload()
    told = boss.explain("GET", "x", subject="a@clinic.example", address="10.1.2.3")
    assert told.allowed and told.rule == "clinic" and told.reason == "" and told.restriction == ""
    verdicts = {verdict.rule: verdict for verdict in told.rules}
    assert list(verdicts) == ["no-drafts", "clinic", "late", "default"]
    assert verdicts["no-drafts"].failed == "objects" and verdicts["clinic"].decides
    assert verdicts["late"].matches and not verdicts["late"].decides
    told = boss.explain("GET", "x", subject="a@clinic.example", address="192.0.2.1")
    assert not told.allowed and told.reason == "NETWORK_DENIED" and told.rule == "default"
    assert {verdict.rule: verdict.failed for verdict in told.rules}["clinic"] == "networks"
    boss.revoke(user="a@clinic.example")
    told = boss.explain("GET", "x", subject="a@clinic.example", address="10.1.2.3")
    boss.reinstate(user="a@clinic.example")
    assert told.allowed and told.restriction == "REVOKED"
    for wrong in ({"address": "here"}, {"country": "USA"}):
        with pytest.raises(Refused) as refused:
            boss.explain("GET", "x", **wrong)
        assert refused.value.reason == "MALFORMED"


def test_explain_by_command(system, boss):
    write(system, RULES)
    boss.reload()
    words = ["get", "reports/drafts/x", "--address", "10.1.2.3", "--subject", "a@clinic.example"]
    done = system.twokey("policy", "explain", *words, *system.connection("gatekeeper", AUDITOR))
    assert done.code == 0 and b"denied" in done.out.splitlines()[0] and b"no-drafts" in done.out
    done = system.twokey("policy", "explain", *words, "--json", *system.connection("gatekeeper", AUDITOR))
    told = json.loads(done.out)
    assert not told["allowed"] and told["rule"] == "no-drafts" and len(told["rules"]) == 4


# ---- replay ----

def test_replay_over_the_record(make_system, tmp_path):
    system = make_system(rules=ONLY_A)
    client, boss = system.client(), operator(system)
    granted = [client.cosign(system.propose("GET", f"a/{i}")).record for i in range(5)]
    denied = []
    for i in range(3):
        with pytest.raises(Refused) as refused:
            client.cosign(system.propose("GET", f"b/{i}"))
        denied.append(refused.value.record)
    # Neither has anything to do with rules.
    boss.revoke(object="a/revoked")
    assert decision(system, client, "a/revoked") == "REVOKED"
    assert decision(system, client, "c/x") == "RULE_DENIED"

    same = boss.replay(ONLY_A)
    assert same.differences == [] and same.summary.replayed == 9
    other = boss.replay(ONLY_B)
    assert (other.summary.now_denied, other.summary.now_allowed, other.summary.sent) == (5, 3, 8)
    assert [one.record for one in other.differences] == sorted(granted + denied)
    first = other.differences[0]
    assert (first.allowed_then, first.rule_then, first.allowed_now, first.rule_now, first.reason_now) == (
        True, "only-a", False, "default", "RULE_DENIED")
    assert (first.object, first.subject, first.bucket, first.address) == ("a/0", "dr.bell", "reports", "127.0.0.1")
    few = boss.replay(ONLY_B, limit=2)
    assert len(few.differences) == 2 and few.summary.now_denied == 5 and few.summary.sent == 2

    path = tmp_path / "new.yaml"
    path.write_text(ONLY_B)
    done = system.twokey("policy", "replay", path, "--days", "1", "--json", *system.connection("gatekeeper", AUDITOR))
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0 and len(lines) == 9 and lines[-1]["now_allowed"] == 3
    done = system.twokey("policy", "replay", path, *system.connection("gatekeeper", OPERATOR))
    assert done.code == 0 and b"5 that were granted would be denied, 3 that were denied would be allowed" in done.out
    path.write_text(BROKEN)
    done = system.twokey("policy", "replay", path, *system.connection("gatekeeper", OPERATOR))
    assert done.code == 3 and b":5:13:" in done.err
    # The rules in force are the old ones all the same.
    assert both(system, client) == A


# ---- under load ----

@pytest.mark.torture
@pytest.mark.timeout(1800 if TORTURE else 120)
def test_reloads_under_load(system, client, boss):
    """Every decision is by one whole file: what both files allow is granted throughout, what neither allows never, and
    from the answer to a reload on its rules decide."""
    whole = {name: text + '  - name: always\n    effect: allow\n    objects: ["always/**"]\n'
             for name, text in (("a", ONLY_A), ("b", ONLY_B))}
    write(system, whole["a"])
    boss.reload()
    stop, wrong, counts = threading.Event(), [], []

    def load():
        own, n = system.client(), 0
        while not stop.is_set():
            n += 1
            if decision(system, own, "always/x") != "":
                wrong.append("a refusal of what every file allows")
            if decision(system, own, "never/x") != "RULE_DENIED":
                wrong.append("a grant of what no file allows")
        counts.append(n)

    workers = [threading.Thread(target=load) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for i in range(RELOADS):
            if i % 10 == 5:
                write(system, BROKEN)
                with pytest.raises(Refused):
                    boss.reload()
            kind, expected = (("b", B), ("a", A))[i % 2]
            write(system, whole[kind])
            if i % 7 == 3:
                system.gatekeeper.daemon.signal(signal.SIGHUP)
            boss.reload()
            assert both(system, client) == expected, f"after reload {i}"
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert not wrong, wrong[:3]
    assert sum(counts) >= RELOADS


def test_rules_at_the_start_are_on_record(make_system):
    system = make_system(rules=ONLY_A)
    auditor = system.client("gatekeeper", AUDITOR)
    record = policy_records(auditor)[0]
    assert record.why == "start" and record.sha256 == hashlib.sha256(ONLY_A.encode()).digest()
