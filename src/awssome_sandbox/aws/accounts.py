"""moto's accounts, seen from inside: who calls, which roles there are, making a role."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import get_account_id_from, iam_backends
from moto.sts.models import sts_backends

from awssome_sandbox.aws.trust import Caller, trust_policy

ACCOUNT = re.compile(r"\d{12}")
ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
PLATFORM_PRINCIPAL = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:root"
"""Whom a customer's role trusts when nothing else is said: the account that calls without credentials of its own."""

_ROLE_ARN = re.compile(r"arn:aws:iam::(\d{12}):role/.+")
_SECONDS = 3600


class NoSuchRole(ValueError):
    """A role cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role as AssumeRole needs to know it."""

    arn: str
    trust: dict[str, Any]
    max_seconds: int


def caller_of(access_key: str) -> Caller:
    """Who signs with an access key; keys that moto did not hand out belong to the default account."""
    account = get_account_id_from(access_key)
    _, arn, _ = sts_backends[account]["aws"].get_caller_identity(access_key, "us-east-1")
    return Caller(account, arn)


def find_role(arn: str) -> Role | None:
    """The role of an ARN, looked for in the account that the ARN names."""
    named = _ROLE_ARN.fullmatch(arn)
    if named is None:
        return None
    for role in iam_backends[named[1]]["aws"].get_roles():
        if role.arn == arn:
            return Role(arn, json.loads(role.assume_role_policy_document), int(role.max_session_duration or _SECONDS))
    return None


def make_role(account: str, name: str, principal: str, external_id: str | None) -> str:
    """Make a role through IAM in an account, as a stack in that account would, and answer its ARN.

    :raises NoSuchRole: when AWS would not take the account, name or ExternalId, or the name is taken.
    """
    if not ACCOUNT.fullmatch(account):
        raise NoSuchRole("An account id has 12 digits.")
    if not ROLE_NAME.fullmatch(name):
        raise NoSuchRole("A role's name has 1 to 64 letters, digits or +=,.@-_.")
    if external_id is not None and not EXTERNAL_ID.fullmatch(external_id):
        raise NoSuchRole("An ExternalId has 2 to 1224 letters, digits or +=,.@:/-_.")
    try:
        role = iam_backends[account]["aws"].create_role(
            role_name=name,
            assume_role_policy_document=json.dumps(trust_policy(principal, external_id)),
            path="/",
            permissions_boundary=None,
            description="Lets the platform register deals",
            tags=[],
            max_session_duration=str(_SECONDS),
        )
    except ServiceException as error:
        raise NoSuchRole(str(error)) from None
    return str(role.arn)


def account_for(external_id: str) -> str:
    """An account id for whoever has this ExternalId: the same one each time, another for another."""
    number = int.from_bytes(hashlib.sha256(external_id.encode()).digest()[:8], "big")
    return str(200_000_000_000 + number % 700_000_000_000)
