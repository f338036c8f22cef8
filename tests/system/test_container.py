"""The container image serves both roles: as an unprivileged user, on a root file system that cannot be written."""
import os
import pathlib
import shutil

import pytest

from support.image import Image
from support.deployment import System
from support.process import run
from support.stubs import ROOT

pytestmark = [pytest.mark.timeout(900),
              pytest.mark.skipif(os.getuid() != 0, reason="building and running an image needs root")]


@pytest.fixture(scope="module")
def image(release_bin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    if os.environ.get("TWOKEY_TORTURE"):
        made = Image(folder)  # with its build stage: the whole Dockerfile
    else:
        done = run(["cpack", "--config", str(release_bin.parent / "CPackConfig.cmake"), "-B", str(folder)], timeout=300)
        assert done.code == 0, done.err.decode()
        made = Image(folder, next(folder.glob("*.deb")))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def containers(image):
    # Below /tmp itself: a container sees neither our folders' parents nor their modes.
    folder = pathlib.Path("/var/tmp") / f"twokey-containers-{os.getpid()}"
    folder.mkdir()
    system = System(folder, image.binary(folder), tokens={"kind": "softhsm"})  # what the image has
    try:
        yield system.start()
        assert (system.vendor.stop(), system.gatekeeper.stop()) == (0, 0)
    finally:
        system.abandon()
        shutil.rmtree(folder)


def test_what_the_image_says_of_itself(image):
    assert image.config["User"] == "twokey" and image.user()["uid"] != 0
    assert image.config["Entrypoint"] == ["/usr/bin/twokey"]
    assert image.config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/twokey", "status"]
    listed = image.root / image.config["Labels"]["twokey.sbom"].lstrip("/")
    assert "\ntwokey " in listed.read_text()
    assert not list((image.root / "var/lib/apt/lists").iterdir())


def test_a_file_in_and_out(containers):
    data, content = containers.client(), os.urandom(300_000)
    data.store(containers.propose("PUT", "reports/a"), content)
    assert data.fetch(containers.propose("GET", "reports/a")).data == content


def test_health_check(containers):
    for party in (containers.vendor, containers.gatekeeper):
        done = containers.twokey("status", "--server", party.address, "--ca", containers.authority.path)
        assert (done.code, done.out) == (0, b"serving\n")


def test_confinement(containers):
    """What the process is, as the kernel sees it."""
    pids = [entry for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()
            and (entry / "cmdline").read_bytes().startswith(b"/usr/bin/twokey\0serve\0")
            and str(containers.folder).encode() in (entry / "cmdline").read_bytes()]
    assert len(pids) == 2
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in (pid / "status").read_text().splitlines() if ":\t" in line)
        assert status["CapEff"].strip("0") == "" and status["NoNewPrivs"] == "1"
        assert status["Uid"].split()[0] != "0"
        options = {line.split()[4]: line.split()[5] for line in (pid / "mountinfo").read_text().splitlines()}
        assert "ro" in options["/"].split(",")


def test_init_jobs(image, tmp_path):
    """What compose.yaml's first services make serves both roles; a second run changes nothing."""
    tmp_path.chmod(0o755)
    keys = []
    for name in ("tls", "vendor-etc", "vendor-state", "gatekeeper-etc", "gatekeeper-state"):
        (tmp_path / name).mkdir(mode=0o755)
    for _ in range(2):
        for role in ("vendor", "gatekeeper"):
            volumes = {"/init": ROOT / "docker", "/tls": tmp_path / "tls", "/etc/twokey": tmp_path / f"{role}-etc",
                       "/var/lib/twokey": tmp_path / f"{role}-state"}
            image.try_in_it(volumes, "/bin/bash", "/init/init.sh", role)
            checked = image.try_in_it(volumes, "setpriv", "--reuid", "twokey", "--regid", "twokey", "--clear-groups",
                                      "twokey", "serve", "--check", "--config", "/etc/twokey/twokey.yaml")
            assert "everything is in order" in checked
        keys.append((tmp_path / "gatekeeper-etc/acme-vendor.transaction.pem").read_text())
    assert keys[0] == keys[1]


def test_compose_files_are_valid():
    for files in (["compose.yaml"], ["compose.yaml", "compose.cloudhsm.yaml"]):
        argv = [word for name in files for word in ("-f", str(ROOT / "docker" / name))]
        done = run(["docker-compose", *argv, "config", "-q"])
        assert done.code == 0, done.err.decode()
