"""Order, filters and pages live in the address."""

from __future__ import annotations

from decimal import Decimal

from starlette.requests import Request

from awssome.web.tables import Column, Listing, Order, money_in_full


def at(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/deals", "query_string": query.encode(), "headers": []})


def test_only_allowed_columns_sort() -> None:
    allowed = {"title", "amount"}
    assert Order.of(at("sort=-amount"), allowed, "title") == Order("amount", descending=True)
    for query in ("", "sort=", "sort=--amount", "sort=password", "sort=amount;drop"):
        assert Order.of(at(query), allowed, "-title") == Order("title", descending=True)


def test_a_heading_turns_the_order_and_starts_where_it_is_useful() -> None:
    listing = Listing.of(at("q=a%26b&after=k9&sort=title"), [], order=Order("title"))
    assert listing.sort_address(Column("title", "Deal")) == "/deals?q=a%26b&sort=-title"
    assert listing.sort_address(Column("amount", "Amount", kind="money")) == "/deals?q=a%26b&sort=-amount"
    assert listing.sort_address(Column("stage", "Stage")) == "/deals?q=a%26b&sort=stage"
    assert listing.sorted_by(Column("title", "Deal")) == "ascending"
    assert listing.sorted_by(Column("stage", "Stage")) is None


def test_the_next_page_keeps_filters_and_order_but_not_the_page_before() -> None:
    listing = Listing.of(at("stage=Qualified&sort=-amount&before=k1"), [])
    assert listing.address(after="k2") == "/deals?stage=Qualified&sort=-amount&after=k2"


def test_only_a_search_or_a_filter_counts_as_filtered() -> None:
    assert not Listing.of(at("sort=-amount&after=k2&q="), []).filtered
    assert Listing.of(at("q=fab"), []).filtered
    assert Listing.of(at("stage=Qualified"), []).filtered


def test_amounts_line_up_when_one_of_them_has_cents() -> None:
    columns = [Column("amount", "Amount", kind="money"), Column("title", "Deal")]
    assert money_in_full([{"amount": Decimal("5.00")}, {"amount": None}], columns) == frozenset()
    assert money_in_full([{"amount": Decimal("5")}, {"amount": Decimal("5.25")}], columns) == {"amount"}
