"""Where the platform's pages are: the host names tenants, and links in mails lead there."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from awssome.domain.tenants import Tier

SHARED_HOST = "freemium"
"""The host label that serves all free tenants."""


def network_address(text: str | None) -> str | None:
    """The text if it is an IP address, else None: headers may hold anything."""
    try:
        return str(ip_address(text or ""))
    except ValueError:
        return None


def neighbourhood(text: str) -> str:
    """Whose network an address is, for limits: the address itself; of IPv6 the /64, which one customer has whole.

    What is no address is its own neighbourhood.
    """
    try:
        found = ip_address(text)
    except ValueError:
        return text
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False))


@dataclass(frozen=True)
class Addresses:
    """The domain that the portal serves.

    :param domain: `localhost`, or what DNS points at the portal's load balancer.
    :param port: the port that browsers use; None: the scheme's own.
    :param secure: https.
    """

    domain: str
    port: int | None = None
    secure: bool = True

    @property
    def suffix(self) -> str:
        """`:port`, or nothing."""
        return f":{self.port}" if self.port else ""

    @property
    def scheme(self) -> str:
        """https or http."""
        return "https" if self.secure else "http"

    def bare(self) -> str:
        """The domain itself: HubSpot's one redirect address is there."""
        return self.domain + self.suffix

    def shared(self) -> str:
        """host[:port] of all free tenants."""
        return f"{SHARED_HOST}.{self.domain}{self.suffix}"

    def of(self, tier: Tier, slug: str) -> str:
        """host[:port] of one tenant's pages."""
        return self.shared() if tier is Tier.FREE else f"{slug}.{self.domain}{self.suffix}"

    def label(self, host: str) -> str | None:
        """What stands before the domain in a Host header; "" for the bare domain; None for a foreign host."""
        name = host.lower().rsplit(":", 1)[0] if ":" in host else host.lower()
        if name == self.domain:
            return ""
        label, dot, rest = name.partition(".")
        return label if dot and rest == self.domain else None

    def url(self, host: str, path: str = "/") -> str:
        """A full address on one of our hosts."""
        return f"{self.scheme}://{host}{path}"
