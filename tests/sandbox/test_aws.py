"""The AWS sandbox: a role is assumed by whom its trust policy names, with the right ExternalId, or not at all."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError

from .conftest import running

CUSTOMER = "222233334444"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


def client(url: str, service: str, credentials: dict[str, str] | None = None, region: str = "us-east-1") -> Any:
    keys = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test", "SessionToken": ""}
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"] or None,
    )


@pytest.fixture(scope="module")
def sts(url: str) -> Any:
    return client(url, "sts")


@pytest.fixture
def make_role(url: str) -> Callable[..., str]:
    """Makes a role of a name of its own in the customer's account."""

    def make(**wanted: Any) -> str:
        body = {"account": CUSTOMER, "name": f"role-{uuid.uuid4()}", **wanted}
        answer = httpx2.post(f"{url}/_sandbox/roles", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["role_arn"]

    return make


def refusal(sts: Any, **request: Any) -> tuple[str, int]:
    """The code and status with which an AssumeRole is refused."""
    with pytest.raises(ClientError) as caught:
        sts.assume_role(RoleSessionName="awssome-test", **request)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


DENIED = ("AccessDenied", 403)


def test_the_right_external_id_lets_the_platform_into_the_customers_account(url: str, sts: Any, make_role) -> None:
    arn = make_role(external_id="right-one")
    answer = sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test", ExternalId="right-one", DurationSeconds=900)
    inside = client(url, "sts", answer["Credentials"]).get_caller_identity()
    assert inside["Account"] == CUSTOMER
    assert inside["Arn"].endswith("/awssome-test")


def test_a_wrong_or_absent_external_id_is_denied(sts: Any, make_role) -> None:
    arn = make_role(external_id="right-one")
    assert refusal(sts, RoleArn=arn, ExternalId="wrong-one") == DENIED
    assert refusal(sts, RoleArn=arn, ExternalId="RIGHT-ONE") == DENIED
    assert refusal(sts, RoleArn=arn) == DENIED


def test_a_role_without_a_condition_lets_any_external_id_pass_as_it_does_in_aws(sts: Any, make_role) -> None:
    arn = make_role(external_id=None)
    assert sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test", ExternalId="anything")["Credentials"]
    assert sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test")["Credentials"]


def test_a_role_that_does_not_exist_is_denied(sts: Any, make_role) -> None:
    arn = make_role(external_id="right-one")
    assert refusal(sts, RoleArn=arn + "x", ExternalId="right-one") == DENIED
    elsewhere = arn.replace(CUSTOMER, "999988887777")
    assert refusal(sts, RoleArn=elsewhere, ExternalId="right-one") == DENIED


@pytest.mark.parametrize(
    ("principal", "admitted"),
    [
        ("*", True),
        ("123456789012", True),
        ("arn:aws:iam::123456789012:root", True),
        ("arn:aws:iam::999988887777:root", False),
        ("arn:aws:iam::123456789012:role/somebody-else", False),
    ],
)
def test_only_the_principal_of_the_trust_policy_is_admitted(
    sts: Any, make_role, principal: str, admitted: bool
) -> None:
    arn = make_role(external_id="right-one", principal=principal)
    if admitted:
        sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test", ExternalId="right-one")
    else:
        assert refusal(sts, RoleArn=arn, ExternalId="right-one") == DENIED


def test_the_session_of_a_role_is_known_by_the_roles_arn(url: str, sts: Any, make_role) -> None:
    first = make_role(external_id="right-one")
    session = sts.assume_role(RoleArn=first, RoleSessionName="awssome-test", ExternalId="right-one")["Credentials"]
    wanted = {"account": "333344445555", "name": "second", "external_id": "other-one", "principal": first}
    second = httpx2.post(f"{url}/_sandbox/roles", json=wanted).json()["role_arn"]
    request = {"RoleArn": second, "RoleSessionName": "awssome-test", "ExternalId": "other-one"}
    assert client(url, "sts", session).assume_role(**request)["Credentials"]
    assert refusal(sts, RoleArn=second, ExternalId="other-one") == DENIED


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Action": "sts:AssumeRoleWithSAML"},
        {"Effect": "Allow", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-123"}}},
        {
            "Effect": "Allow",
            "Condition": {"StringEquals": {"sts:ExternalId": "right-one"}, "Bool": {"aws:Via": "true"}},
        },
        {"Effect": "Deny"},
    ],
)
def test_what_a_trust_policy_does_not_clearly_allow_is_denied(url: str, sts: Any, statement) -> None:
    base = {"Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    allow = [{"Effect": "Allow", **base}] if statement["Effect"] == "Deny" else []
    policy = {"Version": "2012-10-17", "Statement": [*allow, {**base, **statement}]}
    document = json.dumps(policy)
    role = client(url, "iam").create_role(RoleName=f"role-{uuid.uuid4()}", AssumeRolePolicyDocument=document)["Role"]
    assert refusal(sts, RoleArn=role["Arn"], ExternalId="right-one") == DENIED


def test_a_role_that_a_template_makes_is_judged_alike(url: str, sts: Any) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": ["sts:AssumeRole"],
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    template = {
        "Parameters": {"ExternalId": {"Type": "String"}},
        "Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy}}},
        "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}}},
    }
    stacks = client(url, "cloudformation")
    parameters = [{"ParameterKey": "ExternalId", "ParameterValue": "from-template"}]
    stacks.create_stack(StackName="customer", TemplateBody=json.dumps(template), Parameters=parameters)
    arn = stacks.describe_stacks(StackName="customer")["Stacks"][0]["Outputs"][0]["OutputValue"]
    assert sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test", ExternalId="from-template")["Credentials"]
    assert refusal(sts, RoleArn=arn, ExternalId="another") == DENIED


@pytest.mark.parametrize("seconds", [899, 3601])
def test_a_session_is_as_long_as_the_role_allows(url: str, make_role, seconds: int) -> None:
    """Asked without boto3, which would not send the shorter one."""
    form = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "awssome-test"}
    form |= {"RoleArn": make_role(external_id="right-one"), "ExternalId": "right-one", "DurationSeconds": str(seconds)}
    answer = httpx2.post(url, data=form)
    assert answer.status_code == 400
    assert "<Code>ValidationError</Code>" in answer.text


@pytest.mark.parametrize("wanted", [{"account": "12"}, {"name": "a b"}, {"name": ""}, {"external_id": "x"}])
def test_a_role_that_aws_would_not_take_is_refused(url: str, wanted: dict[str, str]) -> None:
    body = {"account": CUSTOMER, "name": "fine", "external_id": "right-one", **wanted}
    assert httpx2.post(f"{url}/_sandbox/roles", json=body).status_code == 400


def test_a_name_is_taken_once_an_account(url: str) -> None:
    body = {"account": CUSTOMER, "name": "taken", "external_id": "right-one"}
    assert [httpx2.post(f"{url}/_sandbox/roles", json=body).status_code for _ in range(2)] == [201, 400]
    assert httpx2.post(f"{url}/_sandbox/roles", json={**body, "account": "333344445555"}).status_code == 201


@pytest.fixture
def callback() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes the stack's callback, and what it took."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/callback", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_quick_create_page_makes_the_role_and_calls_back(url: str, sts: Any, callback) -> None:
    address, taken = callback
    query = {
        "stackName": "Awssome-Alice",
        "templateURL": "https://example.com/role.yaml",
        "param_ExternalId": "alices-id",
        "param_CallbackUrl": address,
        "param_CallbackToken": "one-time",
    }
    page = httpx2.get(f"{url}/_sandbox/quick-create", params=query)
    assert page.status_code == 200
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', page.text))
    fields |= dict(re.findall(r'<input name="([^"]+)" value="([^"]*)"', page.text))
    assert (fields["stackName"], fields["param_ExternalId"]) == ("Awssome-Alice", "alices-id")
    made = httpx2.post(f"{url}/_sandbox/quick-create", data=fields)
    assert made.status_code == 200
    arn = re.findall(r'id="RoleArn">([^<]+)<', made.text)[0]
    assert re.fullmatch(rf"arn:aws:iam::{fields['account']}:role/Awssome-Alice-Role-[A-Z0-9]{{12}}", arn)
    assert taken == [{"role_arn": arn, "token": "one-time"}]
    assert sts.assume_role(RoleArn=arn, RoleSessionName="awssome-test", ExternalId="alices-id")["Credentials"]
    assert refusal(sts, RoleArn=arn) == DENIED


def test_two_customers_get_accounts_of_their_own(url: str) -> None:
    def account(external_id: str) -> str:
        page = httpx2.get(f"{url}/_sandbox/quick-create", params={"param_ExternalId": external_id})
        return re.findall(r'name="account" value="(\d{12})"', page.text)[0]

    assert account("alice") == account("alice") != account("bob")


def test_a_stack_without_an_external_id_is_refused_and_a_lost_callback_is_told(url: str) -> None:
    form = {"stackName": "s", "account": CUSTOMER, "param_ExternalId": ""}
    assert httpx2.post(f"{url}/_sandbox/quick-create", data=form).status_code == 400
    for address, told in (("http://127.0.0.1:9/x", "could not be reached"), ("file:///etc/hosts", "was not called")):
        made = httpx2.post(
            f"{url}/_sandbox/quick-create",
            data={**form, "param_ExternalId": "right-one", "param_CallbackUrl": address},
        )
        assert made.status_code == 200
        assert told in made.text


def test_the_rest_of_moto_is_there(url: str) -> None:
    keys = client(url, "kms")
    key = keys.create_key()["KeyMetadata"]["KeyId"]
    assert len(keys.generate_data_key(KeyId=key, KeySpec="AES_256")["Plaintext"]) == 32
