"""What a sync fetches ahead: everything once, in its order, and nothing more when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from awssome.hubspot.models import Deal, Page
from awssome.workflows.sync.reading import MERGED_IDS, listed, some_ahead


def _numbers(count: int, fetched: threading.Semaphore) -> Iterator[int]:
    for number in range(count):
        fetched.release()
        yield number


@pytest.mark.parametrize("most", [1, 2, 4])
def test_parts_that_are_there_come_together_and_none_is_lost(most: int) -> None:
    fetched = threading.Semaphore(0)
    together: list[list[int]] = []
    with closing(some_ahead(_numbers(11, fetched), threading.Event(), most)) as ahead:
        for some in ahead:
            together.append(some)
            for _ in range(most):  # all that may be fetched ahead is there before the next is asked for
                fetched.acquire(timeout=0.2)
    assert [number for some in together for number in some] == list(range(11))
    assert max(map(len, together)) <= most


def test_an_error_comes_after_what_was_fetched_before_it() -> None:
    def parts() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ZeroDivisionError

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError), closing(some_ahead(parts(), threading.Event(), 4)) as ahead:
        for some in ahead:
            seen += some
    assert seen == [1, 2, 3]


def test_who_stops_early_ends_the_fetch_that_is_under_way() -> None:
    stopping, under_way = threading.Event(), threading.Event()

    def parts() -> Iterator[int]:
        yield 1
        under_way.set()
        assert stopping.wait(60)
        raise InterruptedError

    with closing(some_ahead(parts(), stopping, 4)) as ahead:
        assert next(ahead) == [1]
        assert under_way.wait(60)
    assert not stopping.is_set()


def test_a_deal_that_became_part_of_another_between_two_pages_is_not_there_any_more() -> None:
    before = Page(results=(Deal(id="1"), Deal(id="2"), Deal(id="3")), next="3")
    after = Page(results=(Deal(id="3", properties={"dealname": "new"}), Deal(id="9", properties={MERGED_IDS: "9;1;2"})))
    found = listed(before, after).deals
    assert [(deal.id, deal.properties.get("dealname"), deal.merged_ids) for deal in found] == [
        ("3", "new", ()),
        ("9", None, ("9", "1", "2")),
    ]
