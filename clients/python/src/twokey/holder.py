"""Holder keys: a transaction that names one is of use to its holder only. docs/PROTOCOL.md, section 5."""
from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from twokey.envelope import HOLDER_TYPE, digest, pae
from twokey.v1.transaction_pb2 import Envelope, HolderProof, HolderStatement


class HolderKey:
    """An EC P-256 key pair of the data client's own. Immutable and thread-safe."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a holder key is EC P-256")
        self._key = key
        self._spki = key.public_key().public_bytes(serialization.Encoding.DER,
                                                   serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def generate(cls) -> HolderKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> HolderKey:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("a holder key is EC P-256")
        return cls(key)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HolderKey:
        """From a file of `twokey holder new` or `save`. PermissionError when others than its owner can read it."""
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            raise PermissionError(f"{os.fspath(path)}: others can read this private key: chmod 600")
        return cls.from_pem(pathlib.Path(path).read_bytes())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a new file, mode 0600; FileExistsError when it is there."""
        pem = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)

    @property
    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(serialization.Encoding.PEM,
                                                   serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def sha256(self) -> bytes:
        """What a transaction names the key by."""
        return hashlib.sha256(self._spki).digest()

    def prove(self, envelope: Envelope, method: str, now: float | None = None) -> HolderProof:
        """A proof for one call of `method` ("/twokey.v1.Gatekeeper/Fetch") with this envelope. It counts once."""
        statement = HolderStatement(transaction_sha256=digest(envelope), method=method, nonce=os.urandom(16))
        statement.time.FromNanoseconds(int((time.time() if now is None else now) * 1e9))
        body = statement.SerializeToString()
        r, s = utils.decode_dss_signature(self._key.sign(pae(HOLDER_TYPE, body), ec.ECDSA(hashes.SHA256())))
        return HolderProof(public_key=self._spki, statement=body, signature=r.to_bytes(32, "big") + s.to_bytes(32, "big"))
