"""The hidden fields of every form: that it is ours, and for which tenant it was made."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from markupsafe import Markup

from awssome.portal.context import TenantContext
from awssome.portal.guard import WORKSPACE_FIELD


@dataclass(frozen=True)
class FormMarks:
    """Renders as hidden fields. A person in several tenants can have forms of one open while they look at another."""

    request: Request
    context: TenantContext | None

    def __html__(self) -> Markup:
        token = Markup.escape(self.request.scope["awssome.form_token"])
        if self.context is None:
            return token
        return token + Markup('<input type="hidden" name="{}" value="{}">').format(
            WORKSPACE_FIELD, self.context.tenant.id
        )
