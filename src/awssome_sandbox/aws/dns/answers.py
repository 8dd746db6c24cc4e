"""Route 53's API: changes have ids of their own, and a state."""

from __future__ import annotations

from typing import Any, cast

from moto.core.responses import ActionResult
from moto.route53.models import route53_backends
from moto.route53.responses import Route53

from awssome_sandbox.aws.dns.models import Zones


class Answers(Route53):
    """moto's answers, with changes that take time."""

    @property
    def backend(self) -> Zones:
        return cast(Zones, route53_backends[self.current_account][self.partition])

    def create_hosted_zone(self) -> ActionResult:
        return self._pending(super().create_hosted_zone())

    def delete_hosted_zone(self) -> ActionResult:
        return self._pending(super().delete_hosted_zone())

    def change_resource_record_sets(self) -> ActionResult:
        return self._pending(super().change_resource_record_sets())

    def get_change(self) -> ActionResult:
        return ActionResult({"ChangeInfo": self.backend.describe_change(self._get_param("Id"))})

    def _pending(self, answer: ActionResult) -> ActionResult:
        """moto's answer, with a change that is not everywhere yet."""
        told = cast(dict[str, Any], answer.result)
        return ActionResult({**told, "ChangeInfo": self.backend.begin_change()})
