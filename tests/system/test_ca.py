"""An authority of one's own with its key in a token, and that of a company by plain openssl: certificates that deployments
take, lists that they obey."""
import json

import pytest
from cryptography import x509

from support.client import Refused
from support.deployment import AUDITOR
from support.operator import operator
from support.pki import Identity, replace
from support.process import run, until
from support.softhsm import MODULE, TokenStore


class Ca:
    """`twokey ca` on a folder with a token of its own."""

    def __init__(self, folder, binary):
        self.folder, self.binary = folder, binary
        folder.mkdir()
        self.tokens = TokenStore(folder / "hsm")
        self.tokens.make("ca")
        token = {key: value for key, value in self.tokens.options("ca").items() if key != "gcm_iv"}
        self.config = folder / "ca.yaml"
        self.config.write_text(json.dumps({"name": "Clinic CA", "directory": "issued", "token": token}))
        self.issued = folder / "issued"
        self.root, self.lists = self.issued / "ca.pem", self.issued / "revoked.pem"

    def run(self, command, *arguments, code=0):
        done = run([str(self.binary), "ca", command, "--config", str(self.config), *map(str, arguments)],
                   env=self.tokens.env(), cwd=self.folder)
        assert done.code == code, (done.out + done.err).decode()
        return done

    def issue(self, name, *arguments, role="operator"):
        made = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        self.run("issue", name, "--role", role, "--key", made.key, "--out", made.certificate, *arguments)
        return made

    def list(self):
        return [json.loads(line) for line in self.run("list", "--json").out.splitlines()]


@pytest.fixture(scope="module")
def ca(tmp_path_factory, twokey_bin):
    made = Ca(tmp_path_factory.mktemp("ca") / "ca", twokey_bin)
    made.run("init")
    return made


def openssl(*arguments, folder=None, code=0):
    done = run(["openssl", *map(str, arguments)], cwd=folder)
    assert done.code == code, (done.out + done.err).decode()
    return done.out.decode()


def test_init_makes_a_root_and_is_safe_to_repeat(ca):
    before = ca.root.read_bytes()
    done = ca.run("init")
    assert b"there is already" in done.out and ca.root.read_bytes() == before
    root = x509.load_pem_x509_certificate(before)
    assert root.subject.rfc4514_string() == "CN=Clinic CA"
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).critical
    openssl("verify", "-CAfile", ca.root, ca.root)
    openssl("crl", "-in", ca.lists, "-CAfile", ca.root, "-noout")


def test_the_key_never_leaves_the_token(ca):
    pin = (ca.folder / "hsm/ca.pin").read_text().strip().rpartition(":")[2]
    done = run(["pkcs11-tool", "--module", MODULE, "--token-label", "ca", "--login", "--pin", pin, "--list-objects",
                "--type", "privkey"], env=ca.tokens.env())
    assert b"twokey-ca" in done.out and b"sensitive" in done.out and b"never extractable" in done.out


def test_issue_list_and_revoke(ca):
    made = ca.issue("bob", role="auditor")
    assert made.key.stat().st_mode & 0o777 == 0o600
    certificate = made.parsed
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["twokey://auditor/bob"]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    openssl("verify", "-CAfile", ca.root, "-CRLfile", ca.lists, "-crl_check", "-purpose", "sslclient", made.certificate)
    openssl("verify", "-CAfile", ca.root, "-purpose", "sslserver", made.certificate, code=2)
    entry = next(one for one in ca.list() if one["identity"] == "twokey://auditor/bob")
    assert int(entry["serial"], 16) == certificate.serial_number and entry["state"] == "valid"
    second = Identity(ca.folder / "bob2.pem", ca.folder / "bob2.key")
    ca.run("issue", "bob", "--role", "auditor", "--key", second.key, "--out", second.certificate, "--days", "1")
    done = ca.run("revoke", entry["serial"], "--why", "the laptop is gone")
    assert b"revoked 1" in done.out
    states = {one["serial"]: one for one in ca.list() if one["identity"] == "twokey://auditor/bob"}
    assert sorted(one["state"] for one in states.values()) == ["revoked", "valid"]
    assert states[entry["serial"]]["why"] == "the laptop is gone"
    verify = ("verify", "-CAfile", ca.root, "-CRLfile", ca.lists, "-crl_check")
    assert "revoked" in run(["openssl", *map(str, verify), str(made.certificate)]).err.decode()
    openssl(*verify, second.certificate)
    ca.run("revoke", "twokey://auditor/bob", "--why", "left")
    assert ca.run("revoke", "twokey://auditor/bob", "--why", "again", code=1).err.count(b"no valid certificate") == 1
    assert b"revoked" in ca.run("list").out


def test_openssl_reads_the_index(ca, tmp_path):
    ca.issue("indexed", role="reader")
    serial = next(one["serial"] for one in ca.list() if one["identity"] == "twokey://reader/indexed")
    config = tmp_path / "openssl.cnf"
    config.write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={ca.issued}/index.txt\ndefault_md=sha256\n")
    done = run(["openssl", "ca", "-config", str(config), "-status", serial])
    assert b"(V)" in done.out + done.err, done.err.decode()


def test_a_request_gives_its_key_and_no_name(ca, tmp_path):
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", tmp_path / "k",
            "-out", tmp_path / "r", "-subj", "/CN=twokey:\\/\\/admin\\/eve", "-addext", "subjectAltName=DNS:evil.example")
    ca.run("issue", "eve", "--role", "reader", "--csr", tmp_path / "r", "--out", tmp_path / "c")
    text = openssl("x509", "-in", tmp_path / "c", "-noout", "-text")
    assert "URI:twokey://reader/eve" in text and "evil" not in text and "admin" not in text
    assert openssl("x509", "-in", tmp_path / "c", "-noout", "-pubkey") == openssl("pkey", "-in", tmp_path / "k", "-pubout")
    broken = (tmp_path / "r").read_text().replace("MII", "MIJ", 1)
    (tmp_path / "broken").write_text(broken)
    assert b"certificate request" in ca.run("issue", "eve", "--role", "reader", "--csr", tmp_path / "broken", code=1).err


@pytest.mark.parametrize("arguments", [
    ("x", "--role", "king", "--key", "k"), ("x", "--role", "operator"), ("x", "--key", "k"),
    ("x", "--role", "operator", "--deployment", "--key", "k"), ("x", "--deployment", "--key", "k"),
    ("x", "--role", "reader", "--host", "h", "--key", "k"), ("x", "--deployment", "--host", "a,DNS:b", "--key", "k"),
    ("x", "--role", "reader", "--key", "k", "--days", "4000"), ("--role", "reader", "--key", "k")])
def test_wrong_words(ca, arguments):
    before = ca.list()
    ca.run("issue", *arguments, code=2)
    assert ca.list() == before and not (ca.folder / "k").exists()


def test_wrong_names_and_existing_keys(ca, tmp_path):
    before = ca.list()
    for name in ("a,URI:twokey://admin/b", "a b", "a\tb", "x" * 200):
        ca.run("issue", name, "--role", "reader", "--key", tmp_path / "new", code=1)
    (tmp_path / "there").write_text("precious")
    ca.run("issue", "a", "--role", "reader", "--key", tmp_path / "there", code=1)
    assert (tmp_path / "there").read_text() == "precious" and ca.list() == before


def test_a_damaged_index_is_told_and_kept(ca, tmp_path):
    index = ca.issued / "index.txt"
    before = index.read_bytes()
    try:
        index.write_bytes(before + b"V\tsoon\t\t00\tunknown\t/CN=x\n")
        done = ca.run("issue", "late", "--role", "reader", "--key", tmp_path / "k", code=1)
        assert b"index.txt:" in done.err and index.read_bytes().startswith(before)
    finally:
        index.write_bytes(before)


def house(make_system, client_ca, lists, callers, server=None):
    system = make_system(start=False)
    for party in (system.vendor, system.gatekeeper):
        party.config["tls"] = {**party.config["tls"], "client_ca": str(client_ca), "revocation_lists": [str(lists)]}
        if server:
            party.config["tls"] |= {"certificate": str(server.certificate), "key": str(server.key)}
        party.config["callers"] = callers
        party.write()
    return system


def obeys(system, name, revoke):
    """Somebody operates, is revoked, and is stopped on the open connection; the others go on."""
    boss, auditor = operator(system, identity=name), system.client("gatekeeper", AUDITOR)
    boss.lockdown()
    boss.lockdown(release=True)
    revoke()

    def refused():
        try:
            boss.rules()
        except Refused as error:
            return error.reason
        return ""

    until(lambda: refused() == "CERTIFICATE_REVOKED", timeout=60, what="the new list")
    records, _ = auditor.search(reason="CERTIFICATE_REVOKED")
    assert records and records[0].identity.startswith("twokey://operator/")


def test_deployments_obey_the_authority(ca, make_system, tmp_path):
    server = Identity(ca.folder / "server.pem", ca.folder / "server.key")
    ca.run("issue", "gatekeeper", "--deployment", "--host", "localhost", "--host", "127.0.0.1", "--key", server.key,
           "--out", server.certificate)
    system = house(make_system, ca.root, ca.lists, [
        {"identity": "twokey://operator/alice", "roles": ["operator"]},
        {"identity": "twokey://auditor/carol", "roles": ["auditor"]}], server)
    system.authority.path = ca.root
    system.identities.update({"alice": ca.issue("alice"), AUDITOR: ca.issue("carol", role="auditor")})
    system.start()
    obeys(system, "alice", lambda: ca.run("revoke", "twokey://operator/alice", "--why", "left"))


COMPANY = """
[ca]
default_ca = c
[c]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/root.pem
private_key = {folder}/root.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = p
unique_subject = no
copy_extensions = copy
[p]
commonName = supplied
"""


def test_an_existing_company_authority(make_system, tmp_path):
    folder = tmp_path / "company"
    folder.mkdir()
    config = folder / "openssl.cnf"
    config.write_text(COMPANY.format(folder=folder))
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("1000\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "365", "-subj", "/O=Company/CN=Company CA", "-keyout",
            folder / "root.key", "-out", folder / "root.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    system = house(make_system, folder / "root.pem", folder / "crl.pem", [
        {"identity": "twokey://operator/alice", "certificates": ["subject:CN=alice"], "roles": ["operator"]},
        {"identity": AUDITOR, "roles": ["auditor"]}])

    def issue(name, extra=()):
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", f"/CN={name}",
                "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr", *extra)
        openssl("ca", "-batch", "-config", config, "-in", folder / f"{name}.csr", "-out", folder / f"{name}.pem", "-notext")
        return Identity(folder / f"{name}.pem", folder / f"{name}.key")

    def write_list():
        openssl("ca", "-config", config, "-gencrl", "-out", folder / "crl.next")
        replace(folder / "crl.pem", (folder / "crl.next").read_bytes())

    def revoke():
        openssl("ca", "-config", config, "-revoke", folder / "alice.pem")
        write_list()

    system.identities.update({"alice": issue("alice"),
                              AUDITOR: issue("carol", ("-addext", f"subjectAltName=DNS:{AUDITOR}"))})
    write_list()
    system.start()
    obeys(system, "alice", revoke)
