"""A vendor's and a gatekeeper's deployment: two tokens, two configurations, two processes."""
import json
import os
import pathlib

from cryptography.hazmat.primitives.asymmetric import ec

from support import dsse, pki, s3
from support.client import Client
from support.process import Daemon, run
from support.softhsm import TokenStore

BACKEND, AUDITOR, OPERATOR = "backend.test.example", "auditor.test.example", "operator.test.example"

# Everything is allowed from everywhere: tests that need a rule bring their own.
OPEN_RULES = """
version: 1
rules:
  - name: everything
    effect: allow
"""

SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
              "LSAN_OPTIONS": f"suppressions={pathlib.Path(__file__).resolve().parents[1] / 'lsan.supp'}:print_suppressions=0"}
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehaviorSanitizer")


class Party:
    """One deployment: its folder, its configuration, its process."""

    def __init__(self, system, name, config):
        self.system, self.name = system, name
        self.folder = system.folder / name
        self.folder.mkdir()
        self.config = config
        self.path = self.folder / "twokey.yaml"
        self.daemon, self.address, self.host = None, None, "127.0.0.1"
        self.write()

    def write(self):
        self.path.write_text(json.dumps(self.config, indent=1))  # JSON is YAML

    def init(self, *arguments, stdin=b""):
        done = self.system.twokey("init", "--config", self.path, *arguments, stdin=stdin)
        assert done.code == 0, done.err.decode()
        return done

    @property
    def transaction_pem(self):
        return self.folder / f"{self.name}.transaction.pem"

    @property
    def audit_pem(self):
        return self.folder / f"{self.name}.audit.pem"

    def start(self, prefix=()):
        """`prefix`: a command that execs the server, such as prlimit."""
        argv = [*prefix, str(self.system.binary), "serve", "--config", str(self.path)]
        self.daemon = Daemon(argv, env=self.system.env, cwd=self.folder, log=self.folder / "serve.log").start()
        port = self.daemon.wait_for_line(r"\bserving address=\S*:(\d+)").group(1)
        self.address = f"{self.host}:{port}"
        return self

    def stop(self):
        code = self.daemon.stop() if self.daemon else 0
        self.check_sanitizers()
        return code

    def kill(self):
        self.daemon.kill()
        self.check_sanitizers()

    def restart(self):
        code = self.stop()
        assert code == 0, f"{self.name} ended with {code}:\n{self.daemon.text()}"
        return self.start()

    def check_sanitizers(self):
        log = self.folder / "serve.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        for word in SANITIZER_WORDS:
            assert word not in text, f"{self.name}: a sanitizer has spoken:\n{text[text.index(word) - 200:][:6000]}"


class System:
    """A vendor and a gatekeeper that trusts it. Also a second vendor key, `stolen`, whose private half the test has:
    what whoever stole a vendor's key could do, the test can do.

    store: "directory", or a Versitygw with the bucket made."""

    def __init__(self, folder, binary, store="directory", rules=OPEN_RULES, gatekeeper=None, vendor=None,
                 bucket="reports", before_init=None, tokens=None):
        self.folder, self.binary, self.bucket = pathlib.Path(folder), pathlib.Path(binary), bucket
        self.tokens = TokenStore(self.folder / "hsm", **(tokens or {}))
        self.env = self.tokens.env(**SANITIZERS)
        self.authority = pki.Authority(self.folder / "tls")
        self.server_identity = self.authority.server()
        self.identities = {name: self.authority.client(name) for name in (BACKEND, AUDITOR, OPERATOR)}
        self.stolen = ec.generate_private_key(ec.SECP256R1())
        self.store = store
        self.clients, self.more = [], []
        self.vendor = Party(self, "vendor", self._config("vendor", vendor))
        self.gatekeeper = Party(self, "gatekeeper", self._gatekeeper_config(gatekeeper))
        (self.gatekeeper.folder / "stolen.pem").write_bytes(pki.public_pem(self.stolen))
        self.set_rules(rules)
        if before_init:
            before_init(self)
        self._init()

    # ---- configuration ----
    def _config(self, role, more):
        self.tokens.make(role)
        tls = {"certificate": str(self.server_identity.certificate), "key": str(self.server_identity.key),
               "client_ca": str(self.authority.path)}
        # All clients of a test share one address: only those that are about floods and failures want a limit.
        config = {"role": role, "name": role, "listen": "127.0.0.1:0", "tls": tls, "limits": {"failures": 0},
                  "token": self.tokens.options(role),
                  "ledger": {"directory": "ledger"},
                  "callers": [{"identity": AUDITOR, "roles": ["auditor"]}, {"identity": OPERATOR, "roles": ["operator"]}]}
        if role == "vendor":
            config["callers"].append({"identity": BACKEND, "roles": ["backend"]})
        return {**config, **(more or {})}

    def _bucket_config(self):
        if self.store == "directory":
            return {"name": self.bucket, "store": "directory", "directory": "objects"}
        return {"name": self.bucket, "store": "s3", "endpoint": self.store.endpoint, "region": s3.REGION,
                "access_key_id": s3.ACCESS, "path_style": True, "ca_file": str(self.store.ca)}

    def _gatekeeper_config(self, more):
        keys = [{"name": "acme", "public_key": "../vendor/vendor.transaction.pem"},
                {"name": "stolen", "public_key": "stolen.pem"}]
        config = self._config("gatekeeper", None)
        config.update({"rules": "rules.yaml", "vendor_keys": keys, "buckets": [self._bucket_config()]})
        config.update(more or {})
        return {**config, "limits": {"flood": 0, "failures": 0, **config.get("limits", {})}}

    def set_rules(self, text):
        (self.gatekeeper.folder / "rules.yaml").write_text(text)

    def _init(self):
        self.vendor.init()
        if self.store == "directory":
            self.gatekeeper.init()
        else:
            self.gatekeeper.init("--s3-secret", f"{self.bucket}=-", stdin=s3.SECRET.encode() + b"\n")

    def add_gatekeeper(self, name, **changes):
        """Another one like the first: the same name, token, bucket and rules, a folder of its own. Not started."""
        made = Party(self, name, {**json.loads(json.dumps(self.gatekeeper.config)), **changes})
        for key in made.config["vendor_keys"]:
            key["public_key"] = str((self.gatekeeper.folder / key["public_key"]).resolve())
        made.config["rules"] = str(self.gatekeeper.folder / "rules.yaml")
        for bucket in made.config["buckets"]:
            if "directory" in bucket:
                bucket["directory"] = str(self.gatekeeper.folder / bucket["directory"])
        made.write()
        setattr(self, name, made)
        self.more.append(made)
        return made

    @property
    def parties(self):
        return [self.vendor, self.gatekeeper, *self.more]

    # ---- life ----
    def start(self):
        self.vendor.start()
        self.gatekeeper.start()
        return self

    def stop(self):
        """Ends both in good order."""
        for client in self.clients:
            client.close()
        codes = {party.name: party.stop() for party in self.parties if party.daemon}
        assert all(code == 0 for code in codes.values()), f"exit codes {codes}\n{self.logs()}"

    def abandon(self):
        """Ends whatever still runs, whatever happened before."""
        for party in self.parties:
            if party.daemon and party.daemon.running:
                party.daemon.kill()

    def logs(self):
        return "\n".join(f"--- {party.name}\n{party.daemon.text()[-4000:]}" for party in self.parties
                         if party.daemon)

    # ---- clients ----
    def client(self, party="gatekeeper", identity=None, **options):
        """A new channel; closed with the system."""
        made = Client(getattr(self, party).address, self.authority.path, self.identities.get(identity), **options)
        self.clients.append(made)
        return made

    def connection(self, party="gatekeeper", identity=None):
        """The same as command-line options of `twokey`."""
        options = ["--server", getattr(self, party).address, "--ca", str(self.authority.path)]
        if identity:
            paths = self.identities[identity]
            options += ["--cert", str(paths.certificate), "--key", str(paths.key)]
        return options

    def twokey(self, *arguments, stdin=b"", timeout=120):
        done = run([str(self.binary), *map(str, arguments)], env=self.env, stdin=stdin, timeout=timeout, cwd=self.folder)
        for word in SANITIZER_WORDS:
            assert word.encode() not in done.err, f"twokey {arguments}: {done.err.decode(errors='replace')}"
        return done

    # ---- shortcuts ----
    def propose(self, operation, object_, **fields):
        """An envelope with the stolen vendor key's signature: no round trip to the vendor."""
        made = dsse.transaction(operation, self.bucket, object_, **fields)
        return dsse.sign(made.SerializeToString(), self.stolen)

    def objects(self):
        """The files of the directory store that hold objects' bytes or names."""
        return [path for path in (self.gatekeeper.folder / "objects").rglob("*") if path.is_file()]

    def put(self, client, object_, data, **fields):
        return client.store(self.propose("PUT", object_, **fields), data)

    def get(self, client, object_, **fields):
        return client.fetch(self.propose("GET", object_, **fields))


def environment_binary(name, default):
    path = pathlib.Path(os.environ.get(name, pathlib.Path(__file__).resolve().parents[3] / default))
    assert path.exists(), f"{name}: {path} is not there; `make build` or tools/build.sh makes it"
    return path.resolve()
