"""`make demo` tells its story, exits 0 and leaves no process behind."""
import os
import re
import signal
import subprocess

import pytest

from support.process import processes_mentioning, run, until
from support.stubs import ROOT

pytestmark = pytest.mark.timeout(90)

REFUSALS = ["refused: SIGNATURE_INVALID", "refused: REPLAYED", "refused: NETWORK_DENIED"]


@pytest.fixture
def demo(tmp_path, release_bin):
    return {"args": [str(ROOT / "tools" / "demo.sh"), str(release_bin)],
            "env": {**os.environ, "TWOKEY_DEMO_DIR": str(tmp_path / "demo")}}


def test_the_story(demo, tmp_path):
    for _ in range(2):  # and again, over what the first run left
        done = run(demo["args"], env=demo["env"])
        told = done.out.decode()
        assert done.code == 0, told + done.err.decode()
        assert "\x1b" not in told  # colours are for terminals
        for words in REFUSALS:
            assert words in told
        assert told.count("✓ refused: ") == 4
        sums = re.findall(r"SHA-256 (?:in|out): +([0-9a-f]{64})", told)
        assert len(sums) == 2 and sums[0] == sums[1]
        assert told.count("signed by the vendor, acme-vendor: key ") == 2
        assert told.count("signed by the gatekeeper, clinic-gatekeeper: key ") == 1
        assert processes_mentioning(str(tmp_path)) == []
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"vendor", "gatekeeper", "mallory", "tokens", "tls", "files"} <= made
    for pin in (tmp_path / "demo").glob("*/pin"):
        assert pin.stat().st_mode & 0o777 == 0o600


def test_interrupted_it_leaves_nothing_behind(demo, tmp_path):
    process = subprocess.Popen(demo["args"], env=demo["env"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in process.stdout:
        if b"The file:" in line:  # both deployments are up
            process.send_signal(signal.SIGTERM)
            break
    process.stdout.read()
    assert process.wait(60) == 143
    until(lambda: processes_mentioning(str(tmp_path)) == [], what="no process is left")
