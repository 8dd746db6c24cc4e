"""Customers' IAM roles: the link that makes one, and the check that only we can assume it.

The ExternalId is ours, one for each tenant (IAM User Guide, "How to use an external ID"). A role that can be assumed
with another ExternalId, or with none, is refused: anybody who knows its ARN could have us act in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import new_token
from awssome.domain.tenants import role_account


@dataclass(frozen=True)
class Roles:
    """Assumes customers' roles.

    :param template_url: where the CloudFormation template of the role lies (S3, https).
    :param console_url: the quick-create console; a sandbox may stand in for it.
    :param region: region of STS and of the console.
    """

    template_url: str
    region: str = "us-east-1"
    console_url: str = ""
    principal: str = ""

    def quick_create_url(self, external_id: str, slug: str) -> str:
        """The CloudFormation quick-create link with the tenant's ExternalId filled in.

        Source: CloudFormation User Guide, "Creating quick-create links for stacks".
        """
        console = self.console_url or f"https://{self.region}.console.aws.amazon.com/cloudformation/home"
        query = (
            f"templateURL={quote(self.template_url, safe='')}&stackName=Awssome-{slug}"
            f"&param_ExternalId={quote(external_id, safe='')}&param_PrincipalArn={quote(self.principal, safe='')}"
        )
        if self.console_url:
            return f"{console}?{query}"
        return f"{console}?region={self.region}#/stacks/create/review?{query}"

    def verify(self, arn: str, external_id: str, session_name: str) -> str:
        """Assume the role with the right, a wrong and no ExternalId; only the first may work.

        :returns: the AWS account that the role is in.
        :raises Refused: INVALID with what to change in the role; UPSTREAM when AWS does not answer.
        """
        account = role_account(arn)
        if not self._assumes(arn, external_id, session_name):
            raise Refused(
                Code.INVALID,
                "AWS does not let us use this role. Nothing was stored.",
                "Make the role with the link above, and do not change its ExternalId.",
                fields={"role_arn": "This role refuses our ExternalId, or it does not exist."},
            )
        for wrong in (new_token(), None):
            if self._assumes(arn, wrong, session_name):
                raise Refused(
                    Code.INVALID,
                    "This role can be assumed without its ExternalId, so anybody who knows its ARN could use it. "
                    "Nothing was stored.",
                    "Make the role with the link above: it asks for the ExternalId.",
                    fields={"role_arn": "The role's trust policy does not check the ExternalId."},
                )
        return account

    def _assumes(self, arn: str, external_id: str | None, session_name: str) -> bool:
        sts = boto3.client(
            "sts",
            region_name=self.region,
            config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"}),
        )
        extra = {} if external_id is None else {"ExternalId": external_id}
        try:
            sts.assume_role(
                RoleArn=arn,
                RoleSessionName=session_name[:64],
                DurationSeconds=900,
                **extra,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("AccessDenied", "NoSuchEntity", "ValidationError"):
                return False
            raise _unanswered() from None
        except BotoCoreError:
            raise _unanswered() from None
        return True


def _unanswered() -> Refused:
    return Refused(
        Code.UPSTREAM, "AWS does not answer right now. Nothing was stored.", "Try again in a minute.", retry_after=10
    )
