"""A certificate authority for a test, by `cryptography`: EC P-256 throughout."""
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def write_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Identity:
    """A certificate and its key, as files."""

    def __init__(self, certificate, key):
        self.certificate, self.key = pathlib.Path(certificate), pathlib.Path(key)

    @property
    def parsed(self):
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())


class Authority:
    def __init__(self, folder, name="test CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = self.folder / "ca.pem"
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, public_key, lifetime=datetime.timedelta(days=2)):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + lifetime))

    def issue(self, name, sans, purpose, lifetime=datetime.timedelta(days=2)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), lifetime)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                                        critical=False)
        paths = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        paths.certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        write_key(paths.key, key)
        return paths

    def server(self, name="server"):
        sans = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("::1"))]
        return self.issue(name, sans, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, dns_name):
        return self.issue(dns_name, [x509.DNSName(dns_name)], ExtendedKeyUsageOID.CLIENT_AUTH)

    def revocation_list(self, path, revoked=(), until=datetime.timedelta(days=1), since=datetime.timedelta(hours=1)):
        """Writes a CRL, beside the file and then renamed; `revoked`: Identities."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - since)
                   .next_update(now + until))
        for identity in revoked:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().revocation_date(now)
                                                      .serial_number(identity.parsed.serial_number).build())
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                                        critical=False)
        return replace(path, builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def replace(path, data):
    """Replaces a file as an editor that knows what it does: beside it, then renamed."""
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    beside.rename(path)
    return path
