"""SoftHSM tokens for a test: a token folder of its own, PIN files, keys imported from outside."""
import os
import pathlib
import secrets

from cryptography.hazmat.primitives import serialization

from support.process import run

MODULE = "/usr/lib/softhsm/libsofthsm2.so"


class TokenStore:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.config = self.folder / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")

    def env(self, **more):
        return {**os.environ, "SOFTHSM2_CONF": str(self.config), **more}

    def make(self, label, pin=None):
        """A new token. Returns the path of its PIN file."""
        pin = pin or secrets.token_hex(8)
        path = self.folder / f"{label}.pin"
        path.write_text(pin + "\n")
        path.chmod(0o600)
        done = run(["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin",
                    secrets.token_hex(8)], env=self.env())
        assert done.code == 0, done.err
        return path

    def import_key(self, label, key, name, key_id):
        """Imports a private key that was made outside, so that a test knows its bytes."""
        path = self.folder / f"{name}.p8"
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
        pin = (self.folder / f"{label}.pin").read_text().strip()
        done = run(["softhsm2-util", "--import", str(path), "--token", label, "--label", name, "--id", key_id,
                    "--pin", pin], env=self.env())
        path.unlink()
        assert done.code == 0, done.err + done.out
