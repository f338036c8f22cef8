"""The other clients that are shown: the Node example, and the grpcurl recipes as they are written down."""
import os
import pathlib
import re
import shutil

import pytest

from support.deployment import AUDITOR, BACKEND, OPERATOR
from support.process import run
from support.stubs import ROOT

pytestmark = pytest.mark.timeout(400)
NODE_MODULES = ROOT / "build" / "tools" / "node" / "node_modules"


# ---- clients/node ----
@pytest.fixture
def node(system, tmp_path):
    """Runs the example from a copy, beside the modules that tools/test-tools.sh has installed."""
    for source in (ROOT / "clients" / "node").glob("*.mjs"):
        shutil.copy(source, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.resolve(strict=True))
    paths = system.identities[BACKEND]
    environment = {**os.environ, "TWOKEY_VENDOR": system.vendor.address, "TWOKEY_GATEKEEPER": system.gatekeeper.address,
                   "TWOKEY_GATEKEEPER_NAME": "gatekeeper", "TWOKEY_CA": str(system.authority.path),
                   "TWOKEY_CERT": str(paths.certificate), "TWOKEY_KEY": str(paths.key), "TWOKEY_SUBJECT": "dr.bell",
                   "TWOKEY_PROTO": str(ROOT / "proto")}

    def call(*words, **more):
        return run([shutil.which("node"), "example.mjs", *map(str, words)], env={**environment, **more}, cwd=tmp_path,
                   timeout=300)

    return call


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_node_moves_a_file_and_a_thief_does_not(system, client, node, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    done = node(tmp_path / "in", f"reports/node/{size}")
    assert done.code == 0, done.err.decode()
    stored, fetched, thief = done.out.decode().splitlines()
    assert stored.startswith(f"stored {size} bytes, record ") and stored.endswith(" 2 signatures")
    assert fetched == f"fetched {size} bytes, the same"
    assert re.fullmatch(r"a stolen envelope: HOLDER_PROOF_INVALID, record \d+", thief)
    assert system.get(client, f"node/{size}").data == data


def test_node_tells_a_refusal(system, client, node, tmp_path):
    system.put(client, "node/there", b"already")
    (tmp_path / "in").write_bytes(b"x" * 2_000_000)
    done = node(tmp_path / "in", "reports/node/there")
    assert done.code == 3 and done.out == b""
    assert re.search(rb"^OBJECT_EXISTS: .* \(record \d+\)$", done.err, re.M), done.err


# ---- clients/grpcurl.md ----
def recipes():
    """The `sh` blocks under each heading, in their order."""
    found, heading = [], None
    text = (ROOT / "clients" / "grpcurl.md").read_text()
    for part in re.split(r"(?m)^(##? .*)$", text):
        if part.startswith("#"):
            heading = part.lstrip("# ")
        else:
            found += [(heading, block) for block in re.findall(r"```sh\n(.*?)```", part, re.S)]
    return found


@pytest.fixture(scope="module")
def recipe_system(make_module_system):
    return make_module_system()


@pytest.fixture(scope="module")
def folder(recipe_system, tmp_path_factory):
    """Where a reader would be: the certificates under the names that the recipes use."""
    made = tmp_path_factory.mktemp("recipes")
    shutil.copy(recipe_system.authority.path, made / "ca.pem")
    for name, identity in (("backend", BACKEND), ("auditor", AUDITOR), ("operator", OPERATOR)):
        paths = recipe_system.identities[identity]
        shutil.copy(paths.certificate, made / f"{name}.pem")
        shutil.copy(paths.key, made / f"{name}.key")
    (made / "7.dcm").write_bytes(os.urandom(1000))
    return made


def test_every_recipe_works_as_it_is_written(recipe_system, folder):
    """One after the other in one shell, as a reader would; only the addresses and the names of this place are put in."""
    blocks = recipes()
    assert len(blocks) >= 8
    script = "set -euo pipefail\n" + "\n".join(f"echo '== {heading}'\n{block}" for heading, block in blocks)
    for written, here in (("vendor.example:7401", recipe_system.vendor.address),
                          ("gatekeeper.example:7402", recipe_system.gatekeeper.address),
                          ("clinic-gatekeeper", "gatekeeper"), ("scans", "reports")):
        assert written in script
        script = script.replace(written, here)
    done = run(["bash", "-c", script], cwd=folder, timeout=300)
    assert done.code == 0, done.out.decode() + done.err.decode()
    assert (folder / "copy.dcm").read_bytes() == (folder / "7.dcm").read_bytes()
    told = done.out.decode()
    for expected in ("twokey.v1.Gatekeeper", "SERVING", "copy.dcm: OK", "REPLAYED, record", "1000 radiology/7.dcm",
                     '"lockdown":true', '"users":["dr.bell@clinic.example"]'):
        assert expected in told, f"{expected} is not in\n{told}"


def test_recipes_name_only_what_exists():
    methods = set(re.findall(r"rpc (\w+)\(", "".join(path.read_text() for path in (ROOT / "proto" / "twokey").rglob("*.proto"))))
    named = set(re.findall(r"twokey\.v1\.\w+/(\w+)", (ROOT / "clients" / "grpcurl.md").read_text()))
    assert named and named <= methods
    assert pathlib.Path(ROOT / "clients" / "README.md").read_text().count("](") >= 3
