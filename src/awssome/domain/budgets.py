"""A budget of calls in a rolling window, shared by workers that reserve slices of it, and used up to the last call.

The state is one instant for each call that counts: when its slot is free again. A call that was answered counts until
a window after its answer, because it reached the other side before that, however long it was on its way; a call that
is reserved counts until a window after the last moment at which it may still be made. A new call takes the slot of an
old one and starts no earlier than that slot is free.

So no window ever holds more calls than are allowed. Suppose that one did, and look at that one of its calls that was
reserved last. Each of the others (as many as are allowed) still holds its slot then, or somebody has taken the slot
over who starts after the window's end. All slots are thus free only after the window's end, the last call's as well,
and it is not in the window.

A worker that is killed leaves its slots to become free by themselves. Times are those of one clock, the database's.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

LIFE = timedelta(seconds=2)
"""How long after the start of its last call a slice may be used. Short, so that a worker that lingers learns soon what
the others have met."""

TRANSIT = timedelta(seconds=3)
"""How long a call may be on its way there. It counts only for calls of which nobody tells that they were answered."""

MARGIN = 1.005
"""A window is taken to be a little longer than it is said to be: two clocks never run alike."""

_MEMORY = timedelta(seconds=5)
"""How long slots that are free again are remembered, so that answers that are told late can be compared with them."""


@dataclass(frozen=True)
class Limit:
    """A rolling limit, and how it is shared out.

    :param allowed: calls in any window.
    :param window_seconds: the length of the window.
    :param kept: how many of them background work leaves to people who wait for a page.
    :param slice: how many calls a worker reserves at a time, at most.
    :param a_day: calls in a day, all kinds together; None: no such limit.
    """

    allowed: int
    window_seconds: float
    kept: int = 0
    slice: int = 1
    a_day: int | None = None


@dataclass(frozen=True)
class Told:
    """What an answer tells of the limit.

    :param allowed: calls that are taken in a window.
    :param remaining: how many of them were left after this call.
    :param window_seconds: the length of the window.
    :param day_calls: calls counted for this day so far, where there is a limit for the day.
    """

    allowed: int
    remaining: int
    window_seconds: float
    day_calls: int | None = None


@dataclass(frozen=True)
class Slice:
    """Calls that one worker may make.

    :ivar starts: when each of them may be made, in order. None at all: there is nothing to be had soon enough.
    :ivar until: by when all must be made or given back; without starts, when it makes sense to ask again.
    """

    starts: tuple[datetime, ...]
    until: datetime


@dataclass(frozen=True)
class Usage:
    """What a worker did with a slice.

    :ivar until: the slice's, which tells its slots.
    :ivar answered: for each call that was answered or is certainly over: how many seconds ago.
    :ivar unused: the starts that are given back. Calls that are still under way are in neither.
    :ivar told: what the last answer told of the limit.
    :ivar told_after: how many seconds ago the call with that answer began and ended.
    :ivar rest: for how many seconds nobody may call, because a call was refused for the limit.
    """

    until: datetime
    answered: Sequence[float] = ()
    unused: Sequence[datetime] = ()
    told: Told | None = None
    told_after: tuple[float, float] = (0.0, 0.0)
    rest: float | None = None


@dataclass(frozen=True)
class Ledger:
    """The state of one budget.

    :ivar slots: when the slot of each call is free again, in order.
    :ivar allowed: what the last answer told of the limit, when one did; so `window_seconds`.
    :ivar blocked_until: nobody calls before.
    :ivar day: the day (in UTC) that `day_calls` counts.
    """

    slots: tuple[datetime, ...] = ()
    allowed: int | None = None
    window_seconds: float | None = None
    blocked_until: datetime | None = None
    day: date | None = None
    day_calls: int = 0


def settle(ledger: Ledger, now: datetime, limit: Limit, usage: Usage) -> Ledger:
    """Enter what became of a slice.

    What answers tell only ever lowers what we take: the smaller number of calls and the longer window hold. Calls that
    HubSpot has counted and we have not are somebody else's, and take slots as if they had been made just now.
    """
    window = _window(ledger, limit)
    slots = list(ledger.slots)
    held = usage.until + TRANSIT + window
    freed = [now - timedelta(seconds=ago) + window for ago in usage.answered] + list(usage.unused)
    for free_at in freed:
        if held in slots:  # else somebody else has it already, and starts after that
            slots.remove(held)
            insort(slots, free_at)
    if usage.told is not None:
        ledger = replace(ledger, allowed=usage.told.allowed, window_seconds=usage.told.window_seconds)
        began, ended = (now - timedelta(seconds=ago) for ago in usage.told_after)
        ours = sum(free_at > began for free_at in slots)
        strangers = usage.told.allowed - usage.told.remaining - ours
        slots = sorted([*slots, *[ended + window] * max(0, strangers)])
    blocked_until = ledger.blocked_until
    if usage.rest is not None:
        blocked_until = max(blocked_until or now, now + timedelta(seconds=usage.rest))
    day_calls = ledger.day_calls - len(usage.unused) if ledger.day == now.date() else 0
    if usage.told is not None:
        day_calls = max(day_calls, usage.told.day_calls or 0)
    return replace(ledger, slots=tuple(slots), blocked_until=blocked_until, day=now.date(), day_calls=max(0, day_calls))


def reserve(
    ledger: Ledger,
    now: datetime,
    limit: Limit,
    calls: int,
    *,
    urgent: bool = False,
    patience: timedelta = timedelta.max,
    day_calls_of_others: int = 0,
) -> tuple[Ledger, Slice]:
    """Reserve a slice.

    :param now: the present on the one clock that all users of the budget read, such as the database's.
    :param calls: how many are wanted; it may be less, for a slice spans no more than `LIFE`.
    :param urgent: for somebody who waits for a page: what is kept from background work can be had as well.
    :param patience: nothing is reserved when the first call could only start later than so from now on.
    :param day_calls_of_others: calls of the account's other kinds today.
    :raises ValueError: when `calls` is not positive.
    """
    if calls < 1:
        raise ValueError(f"reserve at least one call, not {calls}")
    allowed = min(limit.allowed, ledger.allowed or limit.allowed)
    window = _window(ledger, limit)
    busy = [free_at for free_at in ledger.slots if free_at > now][-allowed:]
    free = [now] * (allowed - len(busy))
    kept = 0 if urgent else min(limit.kept, allowed - 1)
    earliest = max(now, ledger.blocked_until or now)
    today = ledger.day_calls if ledger.day == now.date() else 0
    if limit.a_day is not None:
        left = limit.a_day - today - day_calls_of_others
        if left < 1:
            earliest = max(earliest, _midnight(now))
        calls = min(calls, max(1, left))
    slots = [*free, *busy]
    starts = tuple(max(earliest, free_at) for free_at in slots[kept : kept + calls])
    starts = tuple(start for start in starts if start - starts[0] <= LIFE)
    # Compared as a difference: an instant that far ahead need not exist.
    if starts[0] - now > patience:
        return ledger, Slice((), starts[0])
    until = starts[-1] + LIFE
    recent = [free_at for free_at in ledger.slots if now - _MEMORY < free_at <= now]
    taken = [*slots[:kept], *slots[kept + len(starts) :], *[until + TRANSIT + window] * len(starts)]
    after = replace(
        ledger,
        slots=(*recent, *sorted(free_at for free_at in taken if free_at > now)),
        day=now.date(),
        day_calls=today + len(starts),
    )
    return after, Slice(starts, until)


def _window(ledger: Ledger, limit: Limit) -> timedelta:
    return timedelta(seconds=max(limit.window_seconds, ledger.window_seconds or 0.0) * MARGIN)


def _midnight(now: datetime) -> datetime:
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
