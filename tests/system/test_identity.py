"""Who may call what: every method, every role, from the right and the wrong network, with certificates that are good,
revoked, expired, vouched for by nobody, or unknown; on connections that stay open. The table is docs/IDENTITY.md's."""
import datetime
import pathlib
import signal

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from support import pki
from support.client import Client, Refused
from support.deployment import AUDITOR, OPERATOR
from support.operator import operator
from support.process import until

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/IDENTITY.md"
ROLES = ("backend", "reader", "auditor", "operator", "admin")
NEAR, FAR = "near", "far"
IDENTITIES = [f"{role}.{where}.example" for role in ROLES for where in (NEAR, FAR)]
STRANGER = "stranger.example"
ABOUT_THE_CALLER = {"CALLER_UNAUTHENTICATED", "CALLER_NOT_ALLOWED", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED",
                    "CERTIFICATE_UNTRUSTED", "REVOCATION_UNKNOWN", "NETWORK_DENIED"}


def documented():
    """{method path: (deployments, roles, open to everybody)}"""
    text = DOCUMENT.read_text().split("<!-- roles:")[1].split("<!-- end of roles -->")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    heads = lines[0]
    table = {}
    for cells in lines[2:]:
        row = dict(zip(heads, cells))
        table["/twokey.v1." + row["method"].replace(".", "/")] = (
            row["deployment"].split(" and "), {role for role in ROLES if row[role]}, bool(row["without a certificate"]))
    return table


METHODS = documented()


def test_the_document_has_every_method():
    from twokey.v1 import audit_pb2, gatekeeper_pb2, key_pb2, policy_pb2

    services = [service for module in (gatekeeper_pb2, audit_pb2, policy_pb2, key_pb2)
                for service in module.DESCRIPTOR.services_by_name.values()]
    assert {f"/{service.full_name}/{method.name}" for service in services for method in service.methods} == set(METHODS)


def callers():
    networks = {NEAR: ["127.0.0.0/8", "::1"], FAR: ["192.0.2.0/24"]}
    return [{"identity": f"{role}.{where}.example", "roles": [role], "networks": networks[where]}
            for role in ROLES for where in (NEAR, FAR)]


class House:
    """A vendor and a gatekeeper with a caller for each role and network, and files that can be exchanged."""

    def __init__(self, make_system):
        system = self.system = make_system(start=False)
        self.lists = system.folder / "revoked.pem"
        self.authorities = system.folder / "authorities.pem"
        self.reset()
        for party in (system.vendor, system.gatekeeper):
            party.config["callers"] += callers()
            party.config["tls"] = {**party.config["tls"], "client_ca": str(self.authorities),
                                   "revocation_lists": [str(self.lists)]}
        system.gatekeeper.config["data_clients"] = "reader"
        for party in (system.vendor, system.gatekeeper):
            party.write()
        system.start()
        self.operators = [operator(system, party) for party in ("vendor", "gatekeeper")]

    def reset(self):
        self.system.authority.revocation_list(self.lists)
        pki.replace(self.authorities, self.system.authority.path.read_bytes())

    def issue(self, name, folder, lifetime=datetime.timedelta(days=2)):
        keep = self.system.authority.folder
        self.system.authority.folder = folder
        try:
            return self.system.authority.issue(name, [x509.DNSName(name)], ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)
        finally:
            self.system.authority.folder = keep

    def connect(self, party, identity):
        address = getattr(self.system, party).address
        client = Client(address, self.system.authority.path, identity, timeout=60)
        self.system.clients.append(client)
        return client

    def reload(self):
        """Afterwards every deployment has the files as they are now. An operator who is refused is so by these files:
        before it refuses, a deployment looks whether they are the last ones."""
        for boss in self.operators:
            try:
                boss.reload()
            except Refused as refused:
                assert refused.reason in ABOUT_THE_CALLER, refused


def outcome(client, method):
    """The reason, when it is about the caller; "" when the call got past that: to a message that no method takes."""
    with pytest.raises(Refused) as caught:
        client.raw_stream(method, [b"\xff\xff"])
    refused = caught.value
    assert refused.record is not None, f"{method}: {refused}: not on record"
    if refused.reason in ABOUT_THE_CALLER:
        return refused.reason
    assert refused.reason == "MALFORMED", f"{method}: {refused}"
    return ""


def expected(name, roles, without, state):
    """`name`: role.where.example, STRANGER, or None. `without`: a certificate is not asked for; here those who use
    transactions need one (`data_clients: reader`)."""
    anyone = without and "reader" not in roles
    if name is None:
        return "" if anyone else "CALLER_UNAUTHENTICATED"
    if state:
        return state
    role, where, *_ = name.split(".")
    if role not in roles:
        return "" if anyone else "CALLER_NOT_ALLOWED"
    return "NETWORK_DENIED" if where == FAR else ""


def check_cells(clients, state=""):
    """Every method, every role, every network. Returns how many cells were looked at."""
    wrong, cells = [], 0
    for (party, name), client in clients.items():
        for method, (deployments, roles, without) in METHODS.items():
            if party not in deployments:
                continue
            cells += 1
            got, wanted = outcome(client, method), expected(name, roles, without, state)
            if got != wanted:
                wrong.append(f"{party}, {name}, {method}: {got or 'admitted'} instead of {wanted or 'admitted'}")
    assert not wrong, "\n".join(wrong)
    return cells


@pytest.fixture(scope="module")
def house(make_module_system):
    return House(make_module_system)


@pytest.fixture(autouse=True)
def afterwards(house):
    yield
    house.reset()
    house.reload()


@pytest.fixture(scope="module")
def identities(house, tmp_path_factory):
    folder = tmp_path_factory.mktemp("callers")
    return {name: house.issue(name, folder) for name in (*IDENTITIES, STRANGER)}


@pytest.fixture(scope="module")
def clients(house, identities):
    """One connection for each, kept open through everything that happens to its certificate."""
    made = {(party, name): house.connect(party, identity) for party in ("vendor", "gatekeeper")
            for name, identity in identities.items()}
    for party in ("vendor", "gatekeeper"):
        made[party, None] = house.connect(party, None)
    return made


def with_certificate(clients):
    return {key: client for key, client in clients.items() if key[1]}


def test_every_method_every_role_every_network(clients):
    assert check_cells(clients) == len(IDENTITIES + [STRANGER, None]) * sum(len(row[0]) for row in METHODS.values())


def test_revoked_on_open_connections(house, clients, identities):
    check_cells({key: client for key, client in clients.items() if key[1] == "auditor.near.example"})
    house.system.authority.revocation_list(house.lists, identities.values())
    house.reload()
    check_cells(with_certificate(clients), "CERTIFICATE_REVOKED")
    house.reset()
    house.reload()
    check_cells({key: client for key, client in clients.items() if key[1] == "auditor.near.example"})


def test_expired_on_open_connections(house, tmp_path):
    for seconds in (5, 20, 80):  # a loaded machine may need longer to connect than the certificates live
        lifetime = datetime.timedelta(seconds=seconds)
        identities = {name: house.issue(name, tmp_path, lifetime) for name in IDENTITIES}
        try:
            clients = {(party, name): house.connect(party, identity) for party in ("vendor", "gatekeeper")
                       for name, identity in identities.items()}
            assert all(outcome(client, "/twokey.v1.Audit/Search") != "CERTIFICATE_EXPIRED" for client in clients.values())
            break
        except (Refused, AssertionError):
            continue
    for client in clients.values():
        until(lambda c=client: outcome(c, "/twokey.v1.Audit/Search") == "CERTIFICATE_EXPIRED", timeout=120, pause=0.2)
    check_cells(clients, "CERTIFICATE_EXPIRED")


def test_vouched_for_by_nobody_any_more(house, clients, tmp_path):
    other = pki.Authority(tmp_path / "other", "another CA")
    pki.replace(house.authorities, other.path.read_bytes())
    other.revocation_list(house.lists)
    house.reload()
    check_cells(with_certificate(clients), "CERTIFICATE_UNTRUSTED")


@pytest.mark.parametrize("what", ["out of date", "missing"])
def test_without_a_list_in_date_nobody_is_believed(house, clients, tmp_path, what):
    if what == "missing":
        pki.Authority(tmp_path / "other", "another CA").revocation_list(house.lists)
    else:
        house.system.authority.revocation_list(house.lists, until=-datetime.timedelta(minutes=5))
    house.reload()
    check_cells(with_certificate(clients), "REVOCATION_UNKNOWN")


def test_strangers_get_no_connection(house, tmp_path):
    """A certificate that no authority has signed, or that had expired before: the handshake fails."""
    other = pki.Authority(tmp_path / "other", "test CA")
    for identity in (other.client("operator.near.example"),
                     house.issue("operator.near.example", tmp_path, -datetime.timedelta(minutes=1))):
        with pytest.raises(Refused) as refused:
            house.connect("gatekeeper", identity).search()
        assert refused.value.code == grpc.StatusCode.UNAVAILABLE and not refused.value.reason


def test_refusals_say_who_and_why_on_record(house, clients, identities):
    auditor = house.system.client("gatekeeper", AUDITOR)
    with pytest.raises(Refused) as refused:
        clients["gatekeeper", "operator.far.example"].raw_stream("/twokey.v1.Policy/Lockdown", [b""])
    record = auditor.record(refused.value.record)
    assert (record.reason, record.identity) == ("NETWORK_DENIED", "operator.far.example")
    assert (record.method, record.address) == ("/twokey.v1.Policy/Lockdown", "127.0.0.1")
    assert record.certificate_sha256 == identities["operator.far.example"].parsed.fingerprint(hashes.SHA256())
    assert record.decision == auditor.audit_pb.DECISION_DENIED


def test_a_list_that_is_wrong_is_refused_and_the_old_one_goes_on(house, clients, identities, tmp_path):
    system = house.system
    revoked = identities["auditor.near.example"]
    system.authority.revocation_list(house.lists, [revoked])
    house.reload()
    boss, auditor = operator(system), system.client("gatekeeper", AUDITOR)
    forged = pki.Authority(tmp_path / "forged", "test CA")  # the same name, another key
    for text in (b"", b"nonsense", b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n",
                 forged.revocation_list(tmp_path / "forged.pem").read_bytes()):
        pki.replace(house.lists, text)
        with pytest.raises(Refused) as refused:
            boss.reload()
        assert refused.value.reason == "AUTHORITIES_INVALID" and "revoked.pem" in refused.value.message
        record = auditor.record(refused.value.record)
        assert record.event == auditor.audit_pb.EVENT_AUTHORITIES and record.reason == "AUTHORITIES_INVALID"
        assert outcome(clients["gatekeeper", "auditor.near.example"], "/twokey.v1.Audit/Search") == "CERTIFICATE_REVOKED"
        assert outcome(clients["gatekeeper", "auditor.far.example"], "/twokey.v1.Audit/Search") == "NETWORK_DENIED"


def test_a_list_is_taken_up_by_rpc_and_because_it_changed(house, clients, identities):
    system = house.system
    client = clients["vendor", "auditor.near.example"]
    system.authority.revocation_list(house.lists, [identities["auditor.near.example"]])
    done = operator(system, "vendor").reload(why="somebody left")
    assert done.changed and done.rules == 0
    record = system.client("vendor", AUDITOR).record(done.record)
    assert (record.identity, record.why) == (OPERATOR, "somebody left") and "1 revoked" in record.detail
    assert outcome(client, "/twokey.v1.Audit/Search") == "CERTIFICATE_REVOKED"
    system.authority.revocation_list(house.lists)
    until(lambda: outcome(client, "/twokey.v1.Audit/Search") == "", timeout=60, what="the change")


def test_a_list_is_taken_up_by_sighup(house, clients, identities):
    house.system.authority.revocation_list(house.lists, [identities["auditor.near.example"]])
    house.system.gatekeeper.daemon.signal(signal.SIGHUP)
    until(lambda: outcome(clients["gatekeeper", "auditor.near.example"], "/twokey.v1.Audit/Search") ==
          "CERTIFICATE_REVOKED", timeout=60, what="SIGHUP")


# ---- how a certificate is told, and what its owner may do with transactions ----

BACKEND_ENTRY = {"identity": "backend", "roles": ["backend"], "operations": ["GET", "LIST"], "accounts": ["clinic-*"],
                 "buckets": ["reports"], "objects": ["a/**"], "max_lifetime": 60}


@pytest.fixture(scope="module")
def bounded(make_module_system, tmp_path_factory):
    """Data clients need no certificate here."""
    system = make_module_system(start=False)
    authority = system.authority
    made = {name: authority.issue(name, sans, ExtendedKeyUsageOID.CLIENT_AUTH) for name, sans in (
        ("first", [x509.UniformResourceIdentifier("twokey://backend/first")]),
        ("second", [x509.DNSName("second.example")]), ("third", []), ("fourth", [x509.DNSName("fourth.example")]),
        ("reader", [x509.DNSName("reader.example")]), ("distant", [x509.DNSName("distant.example")]),
        ("late", [x509.DNSName("late.example")]))}
    system.identities.update(made)
    fingerprint = made["fourth"].parsed.fingerprint(hashes.SHA256()).hex(":").upper()
    yesterday = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)).strftime("%a").lower()
    system.vendor.config["callers"] += [
        {**BACKEND_ENTRY, "certificates": ["twokey://backend/first", "subject:CN=third", f"sha256:{fingerprint}"]},
        {"identity": "second.example", "roles": ["backend", "auditor"]},
        {"identity": "late.example", "roles": ["backend"], "hours": {"days": [yesterday], "from": "00:00", "to": "00:01",
                                                                     "zone": "UTC"}}]
    system.gatekeeper.config["callers"] += [
        {"identity": "reader.example", "roles": ["reader"], "operations": ["PUT"], "objects": ["a/*"], "max_lifetime": 60},
        {"identity": "distant.example", "roles": ["reader"], "networks": ["192.0.2.0/24"]}]
    for party in (system.vendor, system.gatekeeper):
        party.write()
    return system.start()


@pytest.mark.parametrize("name", ["first", "third", "fourth"])
def test_several_certificates_of_one_identity(bounded, name):
    answer = bounded.client("vendor", name).authorize("get", "reports", "a/x", account="clinic-7")
    record = bounded.client("vendor", AUDITOR).record(answer.record)
    assert record.identity == "backend"
    assert answer.expires_at.seconds - record.time.seconds <= 61  # not the deployment's default


@pytest.mark.parametrize("changed, reason", [
    ({"operation": "put"}, "CALLER_LIMITED"), ({"account": "other"}, "CALLER_LIMITED"), ({"account": ""}, "CALLER_LIMITED"),
    ({"bucket": "scans"}, "CALLER_LIMITED"), ({"object_": "b/x"}, "CALLER_LIMITED"), ({"object_": "a"}, "CALLER_LIMITED"),
    ({"operation": "list", "object_": "a"}, "CALLER_LIMITED"), ({"lifetime_seconds": 61}, "LIFETIME_TOO_LONG")])
def test_a_backend_proposes_what_it_may(bounded, changed, reason):
    asked = {"operation": "get", "bucket": "reports", "object_": "a/x", "account": "clinic-7", **changed}
    with pytest.raises(Refused) as refused:
        bounded.client("vendor", "first").authorize(**asked)
    assert refused.value.reason == reason
    record = bounded.client("vendor", AUDITOR).record(refused.value.record)
    assert (record.reason, record.identity, record.object) == (reason, "backend", asked["object_"]) or (
        reason == "LIFETIME_TOO_LONG")
    bounded.client("vendor", "second").authorize("get", "reports", "b/x")


def test_a_backend_has_its_hours(bounded):
    with pytest.raises(Refused) as refused:
        bounded.client("vendor", "late").authorize("get", "reports", "a/x")
    assert refused.value.reason == "HOURS_DENIED"


def test_a_reader_uses_what_it_may(bounded):
    reader = bounded.client("gatekeeper", "reader")
    reader.cosign(bounded.propose("PUT", "a/x", lifetime=60))
    for operation, name, lifetime, reason in (("PUT", "a/b/x", 60, "CALLER_LIMITED"), ("GET", "a/x", 60, "CALLER_LIMITED"),
                                              ("PUT", "a/x", 120, "LIFETIME_TOO_LONG")):
        envelope = bounded.propose(operation, name, lifetime=lifetime)
        with pytest.raises(Refused) as refused:
            reader.cosign(envelope)
        assert refused.value.reason == reason
        bounded.client().cosign(envelope)  # the envelope is good, and nobody needs a certificate here
        bounded.client("gatekeeper", AUDITOR).cosign(envelope)
    with pytest.raises(Refused) as refused:
        bounded.client("gatekeeper", "distant").cosign(bounded.propose("GET", "a/x"))
    assert refused.value.reason == "NETWORK_DENIED"
