"""Who may do what depends on where from, when, how often and how much: proxies, countries, hours, requirements, floods,
rates and volumes, with real clients."""
import time

import pytest

from support import dsse, mmdb
from support.client import Refused
from support.deployment import AUDITOR



def rules(*lines, limits=""):
    """A rule file with one rule that allows everything under these conditions."""
    return "version: 1\n" + limits + "rules:\n- name: only\n  effect: allow\n" + "".join(f"  {line}\n" for line in lines)


def cosign(system, client, metadata=(), **fields):
    """Asks for a co-signature, with metadata. The reason of the refusal, "" when it was granted."""
    return cosign_recorded(system, client, metadata, **fields)[0]


def cosign_recorded(system, client, metadata=(), **fields):
    """The same, with the record's index."""
    try:
        return "", _cosign(client, system.propose("GET", "o", **fields), metadata)
    except Refused as refusal:
        return refusal.reason, refusal.record


def _cosign(client, envelope, metadata=()):
    import grpc

    try:
        request = client.pb.CoSignRequest(envelope=envelope)
        return client.stub.CoSign(request, metadata=metadata, timeout=client.timeout).record
    except grpc.RpcError as error:
        raise Refused(error) from None


def wait_until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        time.sleep(0.1)


def forwarded(*values):
    return [("x-forwarded-for", value) for value in values]


def test_a_trusted_proxy_speaks_for_its_clients(make_system):
    system = make_system(rules=rules("networks: [198.51.100.0/24]"),
                         gatekeeper={"trusted_proxies": ["127.0.0.1", "10.9.9.0/24"]})
    client, auditor = system.client(), system.client("gatekeeper", AUDITOR)
    cases = [
        (forwarded("198.51.100.7"), "", "198.51.100.7"),
        (forwarded("198.51.100.7, 10.9.9.9"), "", "198.51.100.7"),
        # What the client itself wrote stands left of what the proxy appended.
        (forwarded("198.51.100.7, 203.0.113.66"), "NETWORK_DENIED", "203.0.113.66"),
        (forwarded("198.51.100.7", "203.0.113.66"), "NETWORK_DENIED", "203.0.113.66"),
        (forwarded("198.51.100.7, 203.0.113.66, 10.9.9.9"), "NETWORK_DENIED", "203.0.113.66"),
        (forwarded("198.51.100.7, rubbish"), "NETWORK_DENIED", ""),
        (forwarded("10.9.9.9"), "NETWORK_DENIED", ""),
        (forwarded(""), "NETWORK_DENIED", ""),
        ([], "NETWORK_DENIED", ""),
        ([("forwarded", "for=198.51.100.7"), ("x-real-ip", "198.51.100.7")], "NETWORK_DENIED", ""),
    ]
    for metadata, reason, address in cases:
        got, record = cosign_recorded(system, client, metadata)
        assert (got, auditor.record(record).address) == (reason, address), metadata


def test_nobody_else_is_believed(make_system):
    system = make_system(rules=rules("networks: [198.51.100.0/24]"), gatekeeper={"trusted_proxies": ["10.9.9.0/24"]})
    client, auditor = system.client(), system.client("gatekeeper", AUDITOR)
    for value in ("198.51.100.7", "198.51.100.7, 10.9.9.9", "rubbish"):
        reason, record = cosign_recorded(system, client, forwarded(value))
        assert (reason, auditor.record(record).address) == ("NETWORK_DENIED", "127.0.0.1")


def test_a_flood_of_one_address_is_stopped_before_any_signature_is_checked(make_system):
    system = make_system(gatekeeper={"limits": {"flood": 5}, "trusted_proxies": ["127.0.0.1"]})
    client = system.client()
    forged = system.propose("GET", "o")
    forged.signatures[0].sig = b"x"
    for _ in range(3):
        with pytest.raises(Refused, match="SIGNATURE_INVALID"):
            _cosign(client, forged, forwarded("198.51.100.7"))
    assert cosign(system, client, forwarded("198.51.100.7")) == ""
    assert cosign(system, client, forwarded("198.51.100.7")) == ""
    assert cosign(system, client, forwarded("198.51.100.7")) == "FLOOD_LIMIT"
    with pytest.raises(Refused, match="FLOOD_LIMIT") as caught:
        _cosign(client, forged, forwarded("198.51.100.7"))
    assert caught.value.code.name == "RESOURCE_EXHAUSTED"
    record = system.client("gatekeeper", AUDITOR).record(caught.value.record)
    assert (record.reason, record.address) == ("FLOOD_LIMIT", "198.51.100.7")
    # Form comes first, and other addresses are not meant. Of IPv6, the network of a household is one.
    with pytest.raises(Refused, match="MALFORMED"):
        _cosign(client, dsse.sign(forged.payload, system.stolen, kind="text/plain"), forwarded("198.51.100.7"))
    assert cosign(system, client, forwarded("198.51.100.8")) == ""
    for host in range(5):
        assert cosign(system, client, forwarded(f"2001:db8:0:1::{host}")) == ""
    assert cosign(system, client, forwarded("2001:db8:0:1:ffff::")) == "FLOOD_LIMIT"
    assert cosign(system, client, forwarded("2001:db8:0:2::1")) == ""


def test_requests_a_minute_of_a_user_and_of_a_vendor_key(make_system):
    limits = ("limits:\n- {per: user, only: [ann], requests_per_minute: 3}\n"
              "- {per: vendor_key, only: [stolen], requests_per_minute: 8}\n")
    system = make_system(rules=rules("objects: [o]", limits=limits))
    client = system.client()
    for _ in range(3):
        assert cosign(system, client, subject="ann") == ""
    # Refusals cost nothing: who has used up their own share does not use up that of all who have the same vendor key.
    for _ in range(20):
        assert cosign(system, client, subject="ann") == "RATE_LIMITED"
    # The same name at another customer's is another user; others have no limit of their own, but the key has.
    assert cosign(system, client, subject="ann", account="other") == ""
    reasons = [cosign(system, client, subject=f"user-{i}") for i in range(8)]
    assert reasons[-1] == "RATE_LIMITED" and reasons.count("") in (4, 5, 6), reasons
    # A refusal by a rule comes before, and costs nothing.
    with pytest.raises(Refused, match="RULE_DENIED"):
        _cosign(client, system.propose("GET", "elsewhere"))
    # The vendor's other key goes on.
    backend = system.client("vendor", "backend.test.example")
    assert _cosign(client, backend.authorize("GET", "reports", "o").envelope) > 0


def test_bytes_an_hour(make_system):
    system = make_system(rules=rules("objects: ['**']", limits="limits:\n- {per: user, bytes_per_hour: 1MiB}\n"))
    client = system.client()
    system.put(client, "small", b"x" * 1000, subject="ann")
    assert system.get(client, "small", subject="ann").data == b"x" * 1000
    big = bytes(3 << 19)
    system.put(client, "big", big, subject="ann")  # what was begun within the limit may end
    for call in (lambda: system.get(client, "small", subject="ann"), lambda: system.put(client, "n", b"", subject="ann")):
        with pytest.raises(Refused, match="RATE_LIMITED"):
            call()
    assert cosign(system, client, subject="ann") == "RATE_LIMITED"
    assert system.get(client, "big", subject="bob").data == big
    with pytest.raises(Refused, match="RATE_LIMITED"):
        system.get(client, "small", subject="bob")


def test_countries(make_system):
    system = make_system(start=False, rules=rules("countries: [US, GB]"),
                         gatekeeper={"countries_database": "countries.mmdb", "trusted_proxies": ["127.0.0.1"]})
    path = system.gatekeeper.folder / "countries.mmdb"
    mmdb.write(path, {"198.51.100.0/24": "GB", "198.51.100.128/25": "FR", "2001:db8::/32": "US"})
    client = system.start().client()
    for address, reason in [("198.51.100.1", ""), ("2001:db8::1", ""), ("198.51.100.200", "COUNTRY_DENIED"),
                            ("203.0.113.1", "COUNTRY_DENIED"), ("::1", "COUNTRY_DENIED")]:
        assert cosign(system, client, forwarded(address)) == reason, address
    assert cosign(system, client) == "NETWORK_DENIED"  # no address at all
    mmdb.write(path, {"198.51.100.0/24": "FR", "198.51.100.128/25": "GB"})
    wait_until(lambda: cosign(system, client, forwarded("198.51.100.1")) == "COUNTRY_DENIED", "the new file is used")
    assert cosign(system, client, forwarded("198.51.100.200")) == ""
    assert "is old" not in system.gatekeeper.daemon.text()
    # An old one serves, and the log says so.
    mmdb.write(path, {"198.51.100.0/24": "US"}, built=time.time() - 61 * 86400)
    wait_until(lambda: "the country database is old" in system.gatekeeper.daemon.text(), "the log warns")
    assert cosign(system, client, forwarded("198.51.100.1")) == ""
    # Cut in place, or broken: what was read before serves on for a while, and nobody falls.
    path.write_bytes(b"broken")
    wait_until(lambda: "cannot be read" in system.gatekeeper.daemon.text(), "the log warns")
    assert cosign(system, client, forwarded("198.51.100.1")) == ""


@pytest.mark.parametrize("config", [{"countries_database": "missing.mmdb"}, {}])
def test_without_a_database_no_country_is_known(make_system, config):
    text = rules("countries: [US, GB]", "operations: [GET]") + "- {name: puts, effect: allow, operations: [PUT]}\n"
    system = make_system(rules=text, gatekeeper=config)
    client = system.client()
    assert cosign(system, client) == "COUNTRY_DENIED"
    system.put(client, "o", b"rules that ask for no country go on")
    assert "no country is known" in system.gatekeeper.daemon.text()


def test_consent_and_purpose(make_system):
    system = make_system(rules=rules("require: [consent, purpose]"))
    client = system.client()

    def ask(**fields):
        made = dsse.transaction("GET", system.bucket, "o")
        made.purpose = fields.get("purpose", "")
        if "consent" in fields:
            made.consent.given_by = fields["consent"]
            made.consent.text = "yes"
        try:
            _cosign(client, dsse.sign(made.SerializeToString(), system.stolen))
            return ""
        except Refused as refusal:
            return refusal.reason

    assert ask() == "CONSENT_REQUIRED"
    assert ask(purpose="treatment") == "CONSENT_REQUIRED"
    assert ask(purpose="treatment", consent="") == "CONSENT_REQUIRED"  # nobody gave it
    assert ask(consent="Ann Bell") == "PURPOSE_REQUIRED"
    assert ask(purpose="treatment", consent="Ann Bell") == ""


def test_hours_and_what_a_denial_tells(make_system):
    hour = time.gmtime().tm_hour
    closed = f'hours: {{from: "{(hour + 3) % 24:02}:00", to: "{(hour + 5) % 24:02}:00", zone: UTC}}'
    system = make_system(rules=rules(closed))
    client = system.client()
    with pytest.raises(Refused) as caught:
        _cosign(client, system.propose("GET", "o"))
    assert caught.value.reason == "HOURS_DENIED"
    assert caught.value.message == "not allowed at this time"
    for content in ("only", "UTC", f"{(hour + 3) % 24:02}:00"):
        assert content not in caught.value.message


@pytest.mark.parametrize("line, told", [
    ("countries: [US, UK]", ':6:19: "UK" is no country code; did you mean "GB"?'),
    ("hours: {zone: Europe/Berln}", ':6:17: "Europe/Berln" is no time zone; did you mean "Europe/Berlin"?'),
    ("require: [purpse]", ':6:13: what can be required is consent, purpose and id_token, not "purpse"'),
])
def test_mistakes_have_a_place(make_system, line, told):
    system = make_system(start=False, rules=rules("users: [ann]", line))
    done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
    assert done.code != 0 and told in done.err.decode()


def test_a_proxy_that_is_none(make_system):
    system = make_system(start=False)
    system.gatekeeper.config["trusted_proxies"] = ["10.0.0.1", "10.0.0.1/8"]
    system.gatekeeper.write()
    done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
    assert done.code != 0 and "not 10.0.0.1/8" in done.err.decode()
