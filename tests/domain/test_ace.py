"""The rules of an opportunity are AWS' own, to the letter."""

from __future__ import annotations

import html
import re

import pytest

from awssome.domain.ace import RULES, SPEND_CURRENCIES, STATES, USE_CASES, AceCode
from awssome.domain.deals import FIELD, FIELDS, Stage
from tests.domain.partner_central import model, shape_of


def test_the_codes_are_those_of_the_service() -> None:
    assert list(AceCode) == model().shape_for("ValidationExceptionErrorCode").metadata["enum"]


def test_every_rule_belongs_to_a_field_and_only_the_deals_own_amount_has_none() -> None:
    assert RULES.keys() == FIELD.keys() - {"deal_amount", "deal_currency"}


@pytest.mark.parametrize("name", RULES)
def test_a_fields_choices_are_the_enumeration(name: str) -> None:
    enumeration = shape_of(RULES[name].member).metadata.get("enum")
    if name == "aws_spend_currency":
        assert set(SPEND_CURRENCIES) <= set(enumeration)
    elif name == "use_case":
        assert enumeration is None
    else:
        assert set(FIELD[name].choices) == set(enumeration or ())


@pytest.mark.parametrize("name", RULES)
def test_a_fields_lengths_are_those_of_the_pattern(name: str) -> None:
    rule, pattern = RULES[name], shape_of(RULES[name].member).metadata.get("pattern", "")
    bounds = re.fullmatch(r"\(\?s\)\.\{(\d+),(\d+)\}", pattern)
    if bounds is None:
        return
    # AWS takes an empty comment as little as we send one.
    least = 0 if name == "additional_comments" else int(bounds[1])
    assert (rule.least, rule.longest) == (least, int(bounds[2]))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.pattern])
def test_what_matches_our_pattern_matches_aws(name: str) -> None:
    rule, theirs = RULES[name], shape_of(RULES[name].member).metadata["pattern"]
    assert rule.pattern is not None and rule.pattern.fullmatch(rule.like)
    assert re.fullmatch(theirs, rule.like)
    assert not rule.pattern.fullmatch(rule.like + "0" * 20)


def test_what_the_model_leaves_to_its_text_is_taken_from_there() -> None:
    cases = _told("Project", "CustomerUseCase")
    assert [_without_blanks(case) for case in USE_CASES] == [_without_blanks(case) for case in cases]
    assert list(STATES.values()) == _told("Customer.Account.Address", "StateOrRegion")


def test_the_stages_are_all_there() -> None:
    assert list(Stage) == shape_of("LifeCycle.Stage").metadata["enum"]
    assert len({field.name for field in FIELDS}) == len(FIELDS)


def _told(where: str, member: str) -> list[str]:
    """The values that the text of a member names, for lack of an enumeration."""
    text = html.unescape(re.sub(r"<[^>]+>", "", shape_of(where).members[member].documentation))
    return [value.strip() for value in text.partition("Valid values:")[2].split("|")]


def _without_blanks(case: str) -> str:
    """The API spells them with blanks around strokes, its text without."""
    return case.replace(" / ", "/")
