"""The template of the customer's role: sound, and deployed it makes a role that only we can assume."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from cfnlint.decode.cfn_yaml import load

from awssome.aws.roles import Roles
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import new_token
from tests.sandbox.conftest import running

TEMPLATE = Path(__file__).parents[2] / "infrastructure" / "tenant-role.yaml"
PLATFORM = "arn:aws:iam::123456789012:root"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A sandbox of AWS; its URL."""
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def credentials(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own calls go to the sandbox."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def test_cfn_lint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, "--include-checks", "I", "--", TEMPLATE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_link_fills_in_exactly_the_parameters_that_the_template_has() -> None:
    url = Roles(template_url="https://example.com/role.yaml", principal=PLATFORM).quick_create_url(
        "e" * 43, "northwind"
    )
    filled = {name.removeprefix("param_") for name in parse_qs(urlsplit(url).fragment) if name.startswith("param_")}
    parameters = load(str(TEMPLATE))["Parameters"]
    assert filled == set(parameters)
    assert not any(parameter.get("NoEcho") for parameter in parameters.values()), "quick-create links skip NoEcho"
    for name, value in {"ExternalId": new_token(), "PrincipalArn": PLATFORM}.items():
        assert re.fullmatch(parameters[name]["AllowedPattern"], value)
        assert parameters[name]["MinLength"] <= len(value) <= parameters[name]["MaxLength"]


@pytest.mark.parametrize("principal", ["*", "arn:aws:iam::123456789012:role/*", "arn:aws:iam::*:root"])
def test_a_principal_that_is_everybody_is_not_taken(principal: str) -> None:
    pattern = load(str(TEMPLATE))["Parameters"]["PrincipalArn"]["AllowedPattern"]
    assert not re.fullmatch(pattern, principal)


def test_the_role_may_register_deals_and_nothing_else() -> None:
    (policy,) = load(str(TEMPLATE))["Resources"]["Role"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        assert all(re.fullmatch(r"partnercentral:[A-Za-z]+", action) for action in statement["Action"])
        assert statement["Condition"] == {"StringEquals": {"partnercentral:Catalog": ["AWS", "Sandbox"]}}


@pytest.mark.usefixtures("credentials")
def test_the_deployed_role_passes_our_check_with_its_external_id_only() -> None:
    external_id = new_token()
    arn = deploy(external_id)
    roles = Roles(template_url="https://example.com/role.yaml")
    assert roles.verify(arn, external_id, "awssome-test") == "123456789012"
    with pytest.raises(Refused) as refused:
        roles.verify(arn, new_token(), "awssome-test")
    assert refused.value.code is Code.INVALID


def deploy(external_id: str) -> str:
    """The RoleArn of a stack made from the template."""
    cloudformation: Any = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName="Awssome-northwind",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": "ExternalId", "ParameterValue": external_id},
            {"ParameterKey": "PrincipalArn", "ParameterValue": PLATFORM},
        ],
    )
    (stack,) = cloudformation.describe_stacks(StackName="Awssome-northwind")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return outputs["RoleArn"]
