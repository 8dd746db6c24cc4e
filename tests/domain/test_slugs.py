"""Names that are made of a company's."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.tenants import slug_from


@given(st.text(max_size=120))
def test_a_slug_can_be_the_label_of_a_host_whatever_the_company_is_called(company: str) -> None:
    slug = slug_from(company)
    assert len(slug) <= 36
    assert re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", slug)
