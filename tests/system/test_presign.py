"""A URL instead of bytes: opt-in by rule, for a minute at most, never for what is sealed, and on record."""
import subprocess
import time

import pytest

from support.client import Refused, refusing
from support.deployment import AUDITOR
from support.process import until

pytestmark = pytest.mark.timeout(120)

RULES = """
version: 1
rules:
  - {name: open, effect: allow, objects: ["open/**"], presign: 3}
  - {name: everything, effect: allow}
"""


@pytest.fixture(scope="module")
def s3_presigning(make_module_system, versitygw):
    system = make_module_system(store=versitygw, rules=RULES)
    for key in ("open/scan ü+1", "closed/scan"):
        versitygw.client().put_object(Bucket="reports", Key=key, Body=b"not sealed")
    return system


@refusing
def presign(client, envelope):
    return client.stub.Presign(client.pb.PresignRequest(envelope=envelope), timeout=60)


def curl(url, ca):
    done = subprocess.run(["curl", "--silent", "--cacert", str(ca), "--write-out", "\\n%{http_code}", url], check=True,
                          capture_output=True)
    body, _, code = done.stdout.rpartition(b"\n")
    return int(code), body


def test_a_url_for_a_moment(s3_presigning, versitygw):
    system = s3_presigning
    client, envelope = system.client(), system.propose("GET", "open/scan ü+1")
    made = presign(client, envelope)
    assert curl(made.url, versitygw.ca) == (200, b"not sealed")
    assert made.size == len(b"not sealed") and len(made.envelope.signatures) == 2
    assert 0 < made.expires_at.seconds - time.time() <= 4 and "X-Amz-Expires=3&" in made.url
    assert curl(made.url.replace("scan", "scam"), versitygw.ca)[0] == 403
    assert curl(made.url.replace("X-Amz-Expires=3", "X-Amz-Expires=60"), versitygw.ca)[0] == 403
    with pytest.raises(Refused) as refused:
        presign(client, envelope)
    assert refused.value.reason == "REPLAYED"
    until(lambda: curl(made.url, versitygw.ca)[0] == 403, timeout=60, what="the URL expires")

    records, _ = system.client("gatekeeper", AUDITOR).search(object="open/scan ü+1")
    (granted,) = [record for record in records if record.index == made.record]
    assert granted.method == "/twokey.v1.Gatekeeper/Presign" and granted.event == client.audit_pb.EVENT_FETCH
    (ended,) = [record for record in records if record.decision_index == made.record]
    assert (ended.outcome, ended.bytes) == ("presigned", 0)
    logs = (system.gatekeeper.folder / "serve.log").read_text()
    assert "X-Amz-Signature" not in logs + "".join(str(record) for record in records)


def reason_of(system, key, **constraints):
    with pytest.raises(Refused) as refused:
        presign(system.client(), system.propose("GET", key, **constraints))
    return refused.value.reason


def test_refusals(s3_presigning):
    system = s3_presigning
    system.put(system.client(), "open/sealed", b"sealed")
    assert reason_of(system, "open/sealed") == "OBJECT_SEALED"
    assert reason_of(system, "closed/scan") == "PRESIGN_DENIED"
    assert reason_of(system, "open/none") == "OBJECT_NOT_FOUND"
    assert reason_of(system, "open/scan ü+1", range=(0, 3)) == "PRESIGN_DENIED"
    assert reason_of(system, "open/scan ü+1", networks=["127.0.0.0/8"]) == "PRESIGN_DENIED"
    with pytest.raises(Refused) as refused:
        presign(system.client(), system.propose("PUT", "open/new"))
    assert refused.value.reason == "OPERATION_MISMATCH"


def test_a_directory_has_no_urls(make_system):
    system = make_system(rules=RULES)
    folder = system.gatekeeper.folder / "objects" / "objects" / "open"
    folder.mkdir(parents=True)
    head = b"twokey object 1\nsize 1\netag 00\ncontent-type text/plain\n"
    (folder / "file=").write_bytes(head.ljust(4096, b"\0") + b"x")
    assert reason_of(system, "open/file") == "PRESIGN_DENIED"


def test_the_command(s3_presigning, versitygw):
    system = s3_presigning
    path = system.folder / "envelope.json"
    from support.deployment import BACKEND

    made = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", "reports/open/scan ü+1", "--gatekeeper",
                         "gatekeeper", "--subject", "dr.bell", "--output", path)
    assert made.code == 0, made.err.decode()
    done = system.twokey("presign", *system.connection(), path)
    assert done.code == 0, done.err.decode()
    assert curl(done.out.decode().strip(), versitygw.ca) == (200, b"not sealed")


def test_at_most_a_minute(make_system):
    system = make_system(start=False)
    for value in ("61", "0", "-1", "yes"):
        system.set_rules(RULES.replace("presign: 3", f"presign: {value}"))
        done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
        assert done.code != 0 and b"presign" in done.err, value
    system.set_rules(RULES.replace("effect: allow, objects", "effect: deny, objects"))
    assert system.twokey("serve", "--check", "--config", system.gatekeeper.path).code != 0
    system.set_rules(RULES.replace("presign: 3", "presign: 60"))
    done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
    assert done.code == 0, done.err.decode()
