"""`twokey token qualify` tells what a module can do, by exit code too, and leaves nothing behind in the token."""
import json
import os
import re

import pytest

from support.process import run
from support.softhsm import SHIM, TokenStore

pytestmark = pytest.mark.timeout(300)

NSS = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"


class Qualification:
    def __init__(self, folder, binary, token, env):
        self.path, self.binary, self.env = folder / "twokey.yaml", binary, env
        self.config = {"role": "vendor", "name": "vendor", "ledger": {"directory": "ledger"}, "token": token,
                       "tls": {"certificate": "none.pem", "key": "none.key"}}
        self.path.write_text(json.dumps(self.config))

    def twokey(self, *arguments):
        done = run([str(self.binary), *arguments, "--config", str(self.path)], env=self.env)
        assert b"Sanitizer" not in done.err and b"runtime error" not in done.err, done.err.decode()
        return done

    def qualify(self, *arguments):
        done = self.twokey("token", "qualify", *arguments)
        return done.code, done.out.decode(), done.err.decode()

    def keys(self):
        """The labels of what is in the token."""
        return [line.split()[0] for line in self.twokey("key", "list").out.decode().splitlines()[1:]]


def softhsm(tmp_path, binary, **options):
    store = TokenStore(tmp_path / "hsm", **options)
    store.make("vendor")
    made = Qualification(tmp_path, binary, store.options("vendor"), store.env())
    made.store = store
    return made


def lines_of(out):
    return {line[:36].rstrip(): line[84:] for line in out.splitlines() if len(line) > 84}


@pytest.mark.parametrize("kind", ["softhsm", "cloudhsm"])
def test_a_token_that_qualifies(tmp_path, twokey_bin, kind):
    token = softhsm(tmp_path, twokey_bin, kind=kind)
    code, out, err = token.qualify("--milliseconds", "50")
    assert code == 0 and "This token qualifies." in out, out + err
    rows = lines_of(out)
    mine, other = ("token", "caller") if kind == "cloudhsm" else ("caller", "token")
    assert rows[f"CKM_AES_GCM, IV by {mine}"] == "works"
    assert rows[f"CKM_AES_GCM, IV by {other}"].startswith("does not work (not needed here): ")
    assert all(how == "works" for name, how in rows.items() if name != f"CKM_AES_GCM, IV by {other}" and "CKM" in name)
    measured = re.findall(r"^(sign|HMAC|wrap|unwrap|random)\D.* ([124]) +(\d+) ", out, re.M)
    assert len(measured) == 15  # how fast is the machine's affair
    assert token.keys() == []


def test_a_token_that_gives_keys_away(tmp_path, twokey_bin):
    """NSS does everything, and wraps a key that is not extractable for whoever asks."""
    database, pin, rules = tmp_path / "nss", tmp_path / "pin", tmp_path / "rules"
    database.mkdir()
    pin.write_text("12345678\n")
    pin.chmod(0o600)
    rules.write_text("")
    done = run(["certutil", "-N", "-d", f"sql:{database}", "-f", str(pin)])
    assert done.code == 0, done.err
    # It wants its folder in C_Initialize's arguments: the shim gives them.
    parameters = f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags= "
    env = {**os.environ, "P11SHIM_MODULE": NSS, "P11SHIM_PROFILE": "", "P11SHIM_RULES": str(rules),
           "P11SHIM_RESERVED": parameters}
    section = {"module": str(SHIM), "uri": "pkcs11:token=NSS%20Certificate%20DB", "pin_source": f"file:{pin}"}
    token = Qualification(tmp_path, twokey_bin, section, env)
    code, out, err = token.qualify("--milliseconds", "0")
    assert code == 1 and "DOES NOT QUALIFY" in out, out + err
    rows = {name: how for name, how in lines_of(out).items() if not name.startswith("token ")}
    assert rows.pop("C_WrapKey refuses") == "DOES NOT WORK: a key that is not EXTRACTABLE is given away, wrapped"
    assert rows.pop("CKM_AES_GCM, IV by token").startswith("does not work (not needed here): ")
    assert len(rows) == 11 and set(rows.values()) == {"works"}, out
    assert token.keys() == []


def test_another_iv_mode_than_the_tokens(tmp_path, twokey_bin):
    token = softhsm(tmp_path, twokey_bin, kind="softhsm")
    token.config["token"]["gcm_iv"] = "token"
    token.path.write_text(json.dumps(token.config))
    code, out, _ = token.qualify()
    assert code == 1 and "DOES NOT QUALIFY" in out
    assert lines_of(out)["CKM_AES_GCM, as configured"].startswith("DOES NOT WORK: ")
    assert token.keys() == []


@pytest.mark.parametrize("rule, row", [("C_SignInit rv=MECHANISM_INVALID", "CKM_ECDSA"),
                                       ("C_GenerateKey rv=MECHANISM_INVALID", "CKM_AES_KEY_GEN, 256 bits"),
                                       ("C_CreateObject rv=TEMPLATE_INCONSISTENT", "C_CreateObject, CKK_GENERIC_SECRET")])
def test_what_does_not_work_is_named(tmp_path, twokey_bin, rule, row):
    token = softhsm(tmp_path, twokey_bin, kind="softhsm", faults=True)
    token.store.fail(rule + "\n")
    code, out, _ = token.qualify()
    assert code == 1 and "DOES NOT QUALIFY" in out, out
    assert "DOES NOT WORK: " in lines_of(out)[row] and rule.split("=")[-1] in lines_of(out)[row]
    token.store.fail("")
    assert token.keys() == []
    assert token.qualify("--milliseconds", "0")[0] == 0


def test_a_token_that_is_not_there(tmp_path, twokey_bin):
    token = softhsm(tmp_path, twokey_bin, kind="softhsm")
    token.config["token"]["uri"] = "pkcs11:token=another"
    token.path.write_text(json.dumps(token.config))
    code, out, err = token.qualify()
    assert code != 0 and "C_Login" in out and "DOES NOT WORK" in out and "no such token" in err
