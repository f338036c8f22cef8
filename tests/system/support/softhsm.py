"""SoftHSM tokens for a test: a token folder of its own, PIN files, keys imported from outside.

TWOKEY_TOKEN=cloudhsm puts a module in between that behaves as AWS CloudHSM's is documented to (tests/shim), and changes
the configuration as an operator would."""
import os
import pathlib
import secrets

from cryptography.hazmat.primitives import serialization

from support.process import run

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
ROOT = pathlib.Path(__file__).resolve().parents[3]
SHIM = pathlib.Path(os.environ.get("TWOKEY_SHIM", ROOT / "build/dev/tests/shim/libp11shim.so"))
KIND = os.environ.get("TWOKEY_TOKEN", "softhsm")
assert KIND in ("softhsm", "cloudhsm"), f"TWOKEY_TOKEN={KIND}"


class TokenStore:
    """kind: "softhsm", "cloudhsm"; faults: SoftHSM behind the same module, failing as the file `rules` says."""

    def __init__(self, folder, kind=KIND, faults=False):
        self.folder, self.kind = pathlib.Path(folder), kind
        self.shimmed = kind == "cloudhsm" or faults
        assert not self.shimmed or SHIM.exists(), f"{SHIM} is not there; tools/build.sh dev makes it"
        self.module = str(SHIM) if self.shimmed else MODULE
        self.rules = self.folder / "rules"
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.config = self.folder / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")

    def env(self, **more):
        shim = {"P11SHIM_MODULE": MODULE, "P11SHIM_PROFILE": self.kind, "P11SHIM_RULES": str(self.rules)}
        return {**os.environ, "SOFTHSM2_CONF": str(self.config), **(shim if self.shimmed else {}), **more}

    def options(self, label):
        """The `token` section of a configuration."""
        options = {"module": self.module, "uri": f"pkcs11:token={label}", "pin_source": f"file:{self.folder / label}.pin"}
        return {**options, "gcm_iv": "token"} if self.kind == "cloudhsm" else options

    def fail(self, text):
        """Rules for the module in between; none: all is well."""
        following = self.rules.with_suffix(".next")
        following.write_text(text)
        following.rename(self.rules)

    def make(self, label, pin=None):
        """A new token. Returns the path of its PIN file."""
        pin = pin or secrets.token_hex(8)
        path = self.folder / f"{label}.pin"
        path.write_text(("crypto_user:" if self.kind == "cloudhsm" else "") + pin + "\n")
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
        pin = (self.folder / f"{label}.pin").read_text().strip().rpartition(":")[2]
        done = run(["softhsm2-util", "--import", str(path), "--token", label, "--label", name, "--id", key_id,
                    "--pin", pin], env=self.env())
        path.unlink()
        assert done.code == 0, done.err + done.out
