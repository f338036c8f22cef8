"""Templates for a customer's cloud: read by the official linters, and the two AWS ones say the same."""
import json
import pathlib
import re
import sys

import hcl2
import pytest

from support.process import run
from support.stubs import ROOT

TOOLS = pathlib.Path(sys.executable).parent
AWS = ROOT / "docker/aws"
KUBERNETES = sorted((ROOT / "docker/kubernetes").glob("*.yaml"))


def test_cloudformation():
    done = run([str(TOOLS / "cfn-lint"), str(AWS / "gatekeeper.cfn.yaml")], timeout=120)
    assert (done.code, done.out) == (0, b""), done.out.decode() + done.err.decode()


def test_terraform_makes_the_same():
    """terraform validate would need the provider, which no package registry has: so syntax, and that nothing is missing."""
    with open(AWS / "main.tf") as file:
        made = [kind.strip('"') for resource in hcl2.load(file)["resource"] for kind in resource if not kind.startswith("__")]
    other = json.loads(run([str(TOOLS / "python"), "-c", "import sys, json, cfnlint.decode; "
                            "print(json.dumps([r['Type'] for r in cfnlint.decode.decode(sys.argv[1])[0]['Resources'].values()]))",
                            str(AWS / "gatekeeper.cfn.yaml")]).out)
    same = {"AWS::S3::Bucket": "aws_s3_bucket", "AWS::S3::BucketPolicy": "aws_s3_bucket_policy", "AWS::IAM::Role": "aws_iam_role",
            "AWS::IAM::InstanceProfile": "aws_iam_instance_profile", "AWS::RDS::DBInstance": "aws_db_instance",
            "AWS::RDS::DBSubnetGroup": "aws_db_subnet_group", "AWS::RDS::DBParameterGroup": "aws_db_parameter_group",
            "AWS::EC2::SecurityGroup": "aws_security_group", "AWS::EC2::LaunchTemplate": "aws_launch_template",
            "AWS::AutoScaling::AutoScalingGroup": "aws_autoscaling_group", "AWS::CloudWatch::Alarm": "aws_cloudwatch_metric_alarm",
            "AWS::ElasticLoadBalancingV2::LoadBalancer": "aws_lb", "AWS::ElasticLoadBalancingV2::TargetGroup": "aws_lb_target_group",
            "AWS::ElasticLoadBalancingV2::Listener": "aws_lb_listener"}
    for theirs, ours in same.items():
        assert made.count(ours) == other.count(theirs) > 0, (theirs, ours)
    assert made.count("aws_cloudhsm_v2_cluster") == 1


def test_both_first_boots_do_the_same():
    script = (AWS / "user-data.sh").read_text().split("set -euo pipefail\n", 1)[1]
    template = (AWS / "gatekeeper.cfn.yaml").read_text().split("set -euo pipefail\n", 1)[1].split("\n\n", 1)[0]
    lines = [line.strip() for line in template.splitlines() if line.strip()]
    names = {"${PackageBucket}": "${package_bucket}", "${AWS::Region}": "${region}", "${Pin}": "${pin}"}
    said = "\n".join(lines)
    for theirs, ours in names.items():
        said = said.replace(theirs, ours)
    assert said == script.strip()


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes(path):
    done = run([str(TOOLS / "kubernetes-validate"), "--strict", "-k", "1.30", str(path)], timeout=120)
    assert done.code == 0, done.out.decode() + done.err.decode()
    assert not re.search(r"(?i)\bpassword\b *[:=]|secret_access_key", path.read_text())
