"""The TLS key in the token: made by `twokey init`, certified from its request, used by the server; and nothing else in
the process is the worse for it."""
import datetime
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.client import Client, Refused
from support.deployment import OPERATOR
from support.process import run, until

pytestmark = pytest.mark.timeout(300)


def certify(authority, csr_path, certificate_path):
    """What the operator's authority does with the request."""
    csr = x509.load_pem_x509_csr(csr_path.read_bytes())
    assert csr.is_signature_valid
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(csr.subject).issuer_name(authority.name)
                   .public_key(csr.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(names.value, critical=False)
                   .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
                   .sign(authority.key, hashes.SHA256()))
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return csr


def in_token(system):
    gatekeeper = system.gatekeeper
    gatekeeper.config["tls"].update(key="pkcs11:token=gatekeeper;object=twokey-tls", certificate="gatekeeper.tls.pem")
    gatekeeper.write()


def certified(make_system, **options):
    system = make_system(start=False, before_init=in_token, **options)
    folder = system.gatekeeper.folder
    system.csr = certify(system.authority, folder / "gatekeeper.tls.csr", folder / "gatekeeper.tls.pem")
    return system


def served_certificate(system):
    context = ssl.create_default_context(cafile=str(system.authority.path))
    context.set_alpn_protocols(["h2"])
    host, port = system.gatekeeper.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))


def test_init_makes_key_and_request(make_system):
    system = make_system(start=False, before_init=in_token)
    csr = system.gatekeeper.folder / "gatekeeper.tls.csr"
    shown = run(["openssl", "req", "-in", str(csr), "-verify", "-noout", "-text"], env=system.env)
    assert shown.code == 0 and b"CN = gatekeeper" in shown.out and b"127.0.0.1" in shown.out, shown.err
    public = x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    again = system.gatekeeper.init()
    assert b"there is already twokey-tls" in again.out
    assert x509.load_pem_x509_csr(csr.read_bytes()).public_key() == public
    listed = system.twokey("key", "list", "--config", system.gatekeeper.path).out.decode()
    line = next(line for line in listed.splitlines() if line.startswith("twokey-tls") and "public" not in line)
    assert "sensitive, not extractable" in line and "never left it" in line
    assert not list(system.gatekeeper.folder.glob("*.key"))


@pytest.mark.parametrize("kind", ["softhsm", "cloudhsm"])
def test_real_clients_are_served(make_system, kind):
    """Files go in and out, connections are made anew, the token goes on doing everything else."""
    system = certified(make_system, tokens={"kind": kind})
    done = system.twokey("serve", "--check", "--config", system.gatekeeper.path)
    assert done.code == 0, done.err
    system.start()
    assert served_certificate(system).public_key() == system.csr.public_key()
    client = system.client()
    system.put(client, "a", b"bytes" * 1000)
    for _ in range(10):
        with Client(system.gatekeeper.address, system.authority.path) as another:
            assert system.get(another, "a").data == b"bytes" * 1000
    # EC keys are made in the token and parsed in software as ever.
    done = system.twokey("key", "new", "transaction", "--config", system.gatekeeper.path)
    assert done.code == 0, done.err
    done = system.twokey("key", "use", "transaction", "2", "--why", "a test", *system.connection("gatekeeper", OPERATOR))
    assert done.code == 0, done.err
    assert system.get(client, "a").data == b"bytes" * 1000
    with_openssl = run(["openssl", "s_client", "-connect", system.gatekeeper.address, "-tls1_2", "-sigalgs",
                        "ECDSA+SHA384", "-verify_return_error", "-CAfile", str(system.authority.path)], env=system.env)
    assert b"Verify return code: 0 (ok)" in with_openssl.out, with_openssl.err
    text = system.gatekeeper.daemon.text()
    pin = (system.tokens.folder / "gatekeeper.pin").read_text().strip()
    assert pin not in text and "pin-value" not in text
    arguments = open(f"/proc/{system.gatekeeper.daemon.process.pid}/cmdline").read()
    assert pin not in arguments


def test_a_renewed_certificate_is_taken_up(make_system):
    system = certified(make_system)
    system.start()
    folder = system.gatekeeper.folder
    before = served_certificate(system).serial_number
    certify(system.authority, folder / "gatekeeper.tls.csr", folder / "next.pem")
    (folder / "next.pem").rename(folder / "gatekeeper.tls.pem")
    for _ in range(3):
        after = served_certificate(system).serial_number
    assert after != before
    system.put(system.client(), "a", b"bytes")


@pytest.mark.parametrize("uri", ["pkcs11:token=gatekeeper;object=twokey-tls?pin-value=1234",
                                 "pkcs11:token=gatekeeper;object=twokey-tls?pin-source=file:/tmp/pin"])
def test_a_pin_in_the_uri_is_refused(make_system, uri):
    system = certified(make_system)
    system.gatekeeper.config["tls"]["key"] = uri
    system.gatekeeper.write()
    for arguments in (["init"], ["serve"]):
        done = system.twokey(*arguments, "--config", system.gatekeeper.path)
        assert done.code == 1 and b"PIN" in done.err, done.err
        assert b"1234" not in done.err


def test_a_key_that_is_not_the_certificates(make_system):
    """A key that is not there, and another key than the certificate's: told before anything is served."""
    system = certified(make_system)
    for label, told in (("twokey-nothing", b"twokey init"), ("twokey-audit", b"does not belong to the certificate")):
        system.gatekeeper.config["tls"]["key"] = f"pkcs11:object={label}"
        system.gatekeeper.write()
        for arguments in (["serve", "--check"], ["serve"]):
            done = system.twokey(*arguments, "--config", system.gatekeeper.path)
            assert done.code == 1 and told in done.err, done.err


def attempt(system, client):
    try:
        return system.get(client, "a").data == b"bytes"
    except Refused:
        return False


def attempt_anew(system):
    with Client(system.gatekeeper.address, system.authority.path, timeout=20) as client:
        return attempt(system, client)


@pytest.mark.parametrize("kind", ["softhsm", "cloudhsm"])
def test_new_connections_after_the_token_was_lost(make_system, kind):
    """The token forgets everything; when it is back it also signs new handshakes, without a restart."""
    system = certified(make_system, tokens={"kind": kind, "faults": True})
    system.start()
    system.put(system.client(), "a", b"bytes")
    # Handshakes do not decrypt: this one is lost in the middle of a Fetch.
    system.tokens.fail("C_DecryptInit rv=TOKEN_NOT_PRESENT count=1\n")
    with Client(system.gatekeeper.address, system.authority.path) as client:
        assert not attempt(system, client)
        until(lambda: attempt(system, client), what="served again on an old connection")
    for _ in range(3):
        assert attempt_anew(system)


def test_new_connections_while_the_token_is_away(make_system):
    """No handshake without the token, connections that are there are answered, and new ones come back by themselves."""
    system = certified(make_system, tokens={"kind": "softhsm"})
    system.start()
    old = system.client()
    system.put(old, "a", b"bytes")
    tokens, away = system.tokens.tokens, system.tokens.folder / "away"
    tokens.rename(away)
    until(lambda: not attempt(system, old), what="the loss to be noticed")
    until(lambda: not attempt_anew(system), what="no handshakes")
    away.rename(tokens)
    until(lambda: attempt_anew(system), what="new connections")
    assert attempt(system, old)


def test_a_token_that_hangs_in_handshakes(make_system):
    """Signatures hang: whoever has a connection is answered all the same, also while others try to connect."""
    def prepare(system):
        in_token(system)
        system.gatekeeper.config["token"]["timeout_ms"] = 1500
        system.gatekeeper.write()

    system = make_system(start=False, before_init=prepare, tokens={"kind": "softhsm", "faults": True})
    folder = system.gatekeeper.folder
    certify(system.authority, folder / "gatekeeper.tls.csr", folder / "gatekeeper.tls.pem")
    system.start()
    old = system.client()
    system.put(old, "a", b"bytes")
    system.tokens.fail("C_Sign stall\n")
    for _ in range(3):
        assert not attempt_anew(system)
        assert old.raw("/grpc.health.v1.Health/Check", b"")
    assert not attempt(system, old)
    system.tokens.fail("")
    until(lambda: attempt_anew(system), what="new connections")
    until(lambda: attempt(system, old), what="service")
