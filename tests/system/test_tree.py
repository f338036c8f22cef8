"""What a party cannot do to its own record: checkpoints, proofs, and the other party as a witness."""
import shutil

import pytest

from support.deployment import AUDITOR
from support.process import until

pytestmark = pytest.mark.timeout(400)


def ok(done):
    assert done.code == 0, done.err.decode(errors="replace")
    return done.out.decode()


def keys(system):
    """Both parties' audit keys, as `twokey init` wrote them."""
    return [word for party in (system.gatekeeper, system.vendor)
            for word in ("--vkey", f"{party.name}={party.audit_pem}")]


def verify(system, ledger, *more):
    return system.twokey("audit", "verify", *more, *keys(system), ledger)


def test_checkpoint_and_proof(system):
    client = system.client()
    for i in range(5):
        system.put(client, f"report-{i}", b"x")
    connection = system.connection(identity=AUDITOR)
    note = ok(system.twokey("audit", "checkpoint", "--at-least", 5, *connection))
    lines = note.split("\n")
    assert lines[0] == "gatekeeper" and int(lines[1]) >= 5 and lines[4].startswith("— gatekeeper ")
    proof = system.folder / "record.tlog-proof"
    ok(system.twokey("audit", "prove", 3, "--out", proof, *connection))
    assert "record 3 of gatekeeper is in its log" in ok(system.twokey("audit", "verify", "--proof", *keys(system), proof))
    text = proof.read_text()
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    proof.write_text(text.replace("index 3\n", "index 4\n"))
    assert system.twokey("audit", "verify", "--proof", *keys(system), proof).code == 1
    assert system.twokey("audit", "prove", 10 ** 6, *connection).code != 0
    # The one that `--vkey` shows is the one that counts; nobody else's does.
    ledger = system.gatekeeper.folder / "ledger"
    vkey = ok(system.twokey("audit", "checkpoint", "--vkey", *connection)).strip()
    assert "records, unchanged and complete" in ok(system.twokey("audit", "verify", "--vkey", vkey, ledger))
    other = vkey.split("+")[0] + "=" + str(system.vendor.audit_pem)
    assert system.twokey("audit", "verify", "--vkey", other, ledger).code == 1


@pytest.fixture
def witnessed(make_system):
    """The vendor witnesses the gatekeeper's checkpoints."""
    made = make_system(start=False)
    made.vendor.config["witness"] = {"origin": "gatekeeper", "public_keys": str(made.gatekeeper.audit_pem)}
    made.vendor.write()
    made.vendor.start()
    made.gatekeeper.config["witness"] = {"origin": "vendor", "public_keys": str(made.vendor.audit_pem),
                                         "server": made.vendor.address, "ca": str(made.authority.path), "interval": 1}
    made.gatekeeper.write()
    made.gatekeeper.start()
    return made


def covered(note):
    return int(note.read_text().split("\n")[1]) if note.exists() else 0


def test_a_witness_finds_a_tail_cut_off(witnessed):
    system = witnessed
    ledger, older = system.gatekeeper.folder / "ledger", system.gatekeeper.folder / "older"
    cosigned = ledger / "checkpoint.witnessed"
    client = system.client()
    system.put(client, "first", b"1")
    until(lambda: covered(cosigned) > 0, 60, "the witness has cosigned")
    system.gatekeeper.stop()
    shutil.copytree(ledger, older)
    seen = covered(cosigned)
    system.gatekeeper.start()
    client = system.client()
    for i in range(5):
        system.put(client, f"later-{i}", b"2")
    until(lambda: covered(cosigned) >= seen + 10, 60, "the witness has cosigned more")
    system.gatekeeper.stop()
    # On both sides, with both signatures.
    kept = next((system.vendor.folder / "ledger/witness").iterdir())
    assert covered(kept) == covered(cosigned)
    assert f"witnessed: records below {covered(cosigned)}" in ok(verify(system, ledger))
    ok(verify(system, ledger, "--checkpoint", kept))
    # A ledger of before is a good one by itself, with a good checkpoint. The witness has seen more.
    ok(verify(system, older))
    found = verify(system, older, "--checkpoint", kept)
    assert found.code == 1 and b"its tail is missing" in found.err
    # Nor can it be served unnoticed.
    shutil.rmtree(ledger)
    shutil.copytree(older, ledger)
    system.gatekeeper.start()
    system.gatekeeper.daemon.wait_for_line(r"checkpoints are not witnessed", timeout=60)


def test_a_witness_that_is_away_stops_nothing(witnessed):
    system = witnessed
    until(lambda: covered(system.gatekeeper.folder / "ledger/checkpoint.witnessed") > 0, 60, "the witness has cosigned")
    system.vendor.stop()
    system.put(system.client(), "alone", b"1")
    system.gatekeeper.daemon.wait_for_line(r"checkpoints are not witnessed", timeout=60)
    assert system.get(system.client(), "alone")
    note = system.twokey("audit", "checkpoint", *system.connection(identity=AUDITOR))
    assert note.code == 0 and b"not witnessed since record" in note.err
    system.vendor.start()
