"""What a change of the plan means for the HubSpot deals that are here. Nothing is ever deleted for it."""

from __future__ import annotations

from dataclasses import dataclass

from awssome.domain.tenants import FREE_DEALS


@dataclass(frozen=True)
class Downgrade:
    """What going from paid to free means.

    :ivar followed: deals that stay in step with HubSpot: those that came in first.
    :ivar unfollowed: deals that stay as they are: read, edited and exported as before, but HubSpot no longer changes
        them, until the workspace is paid for again.
    :ivar places: how many more deals may come in.
    """

    followed: int
    unfollowed: int
    places: int

    @property
    def words(self) -> tuple[str, ...]:
        """The same in sentences, for people who are about to decide."""
        return (_followed(self), *_unfollowed(self), _places(self), _AGAIN)


def after_downgrade(here: int, imported: int, limit: int = FREE_DEALS) -> Downgrade:
    """What a downgrade would come to.

    :param here: the HubSpot deals that are here and are followed now (`database.tenant.imports.count_live`).
    :param imported: how many ever came in, which is what the free plan counts (`HubSpotConnection.imports`).
    :param limit: how many the free plan imports.
    """
    followed = min(here, limit)
    return Downgrade(followed, here - followed, max(0, limit - imported))


_AGAIN = "Nothing is deleted. If you upgrade again, the next sync catches up with everything."


def _followed(after: Downgrade) -> str:
    if after.unfollowed:
        return f"The {_deals(after.followed)} that came in first stay in step with HubSpot."
    if after.followed > 1:
        return f"All of your {after.followed} HubSpot deals stay in step with HubSpot."
    return "Your HubSpot deal stays in step with HubSpot." if after.followed else "No HubSpot deal is here."


def _unfollowed(after: Downgrade) -> tuple[str, ...]:
    if not after.unfollowed:
        return ()
    if after.unfollowed == 1:
        return ("The other one stays here, to read, edit and export, but no longer follows HubSpot.",)
    return (f"The other {after.unfollowed:,} stay here, to read, edit and export, but no longer follow HubSpot.",)


def _places(after: Downgrade) -> str:
    if not after.places:
        return "No more deals come in from HubSpot."
    more = " more" if after.followed else ""
    return f"{_deals(after.places)}{more} can come in from HubSpot."


def _deals(number: int) -> str:
    return f"{number:,} {'deal' if number == 1 else 'deals'}"
