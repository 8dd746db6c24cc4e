"""The seeded portals: deterministic deals with the oddities of real accounts.

The same seed, number and day give the same deals. Dates hang on the day, so that open deals close in the future
whenever the sandbox runs. Among the oddities: empty amounts, amounts such as "1000.5" or of fifteen digits, several
currencies and accounts that know only one and name none, pipelines with numbered stages, missing names, names in many
scripts, very long names and names that look like markup, close dates in the past or missing, texts too short or too
long for AWS, an import in which many deals share one millisecond, archived and merged deals.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

from awssome_sandbox.hubspot.changes import USER, Change
from awssome_sandbox.hubspot.definitions import PIPELINES, PROPERTIES
from awssome_sandbox.hubspot.portals import Deal, Person, Portal, properties_of

_DAY = 86_400_000
_HISTORY_DAYS = 700
_EPOCH = date(1970, 1, 1)

_COMPANIES = (
    "Adventure Works", "Alpine Ski House", "Bellows College", "Boulder Innovations", "Contoso Retail", "Coho Winery",
    "Crème & Co. Pâtisserie", "Dağ Lojistik", "Fabrikam", "First Up Consultants", "Fourth Coffee", "Litware",
    "Graphic Design Institute", "Humongous Insurance", "Jørgensen Havn A/S", "Lamna Healthcare", "Lucerne Publishing",
    "Liberty's Delightful Bakery", "Margie's Travel", "Müller & Söhne GmbH", "Munson's Pickles", "Nod Publishers",
    "Proseware", "Relecloud", "São Bento Energia", "School of Fine Art", "Southridge Video", "Tailwind Traders",
    "Trey Research", "VanArsdel", "Wide World Importers", "Żubr Browar", "株式会社青空", "서울 클라우드",
    "شركة النخيل", "Одиссей Логистика", "עננים בע״מ", "Ελληνικά Δίκτυα",
)  # fmt: skip
_PROJECTS = (
    "data platform", "migration", "contact centre", "disaster recovery", "analytics", "SAP on AWS", "landing zone",
    "renewal", "security review", "modernisation", "VMware exit", "IoT fleet", "media archive", "machine learning",
    "edge network",
)  # fmt: skip
_ODD_NAMES = (
    'O\'Brien & Sons <b>bold</b> "quoted" deal',
    "Zoë's 🚀 launch – phase ½",
    "The very long deal: " + "a phased move of every workload, region by region, " * 6 + "done",
    "'; DROP TABLE deals; --",
    '=HYPERLINK("https://example.com","spreadsheet formula")',
    "Dashed — “smart quotes” and a\u00a0no-break space",
    "Cafe\u0301 combined, zero\u200bwidth, \u202eright to left\u202c",
    "Beyond the basic plane: 𝒜𝓌𝓈 👩\u200d💻",
)
_UNTIDY_NAMES = ("  Spaces around, a tab\tand a line\nbreak within  ", "\u2003Wide  spaces\u2003")
_ODD_AMOUNTS = ("123456789012.345", "0.0001", "9876543210987.65", "-2500.75", "12345678.9")
"""Fifteen digits at most, so that clients which read numbers as floats see the truth as well."""
_TOO_FINE = "1234.567891"
_ODD_TEXT = 'First line\r\nsecond\tline \u2028 “quotes”, "quotes", \\ and {{ braces }} <script>alert(1)</script> 🚀'
_PROBLEMS = (
    "The customer's data centre lease ends next year, and every workload has to move before then.",
    "Reports take a night to run; the customer needs them within minutes to steer its shops.",
    "Seasonal load overwhelms the current platform, and orders are lost each December.\nThey want to scale by demand.",
    "Audits found that backups cannot be restored; the customer must prove recovery within four hours.",
    "Größere Datenmengen überfordern das bestehende System; gesucht ist ein Betrieb ohne eigene Server.",
)
_SHORT_PROBLEM = "Wants cloud."
_LONG_PROBLEM = "Twelve subsidiaries run twelve platforms, each with its own contracts, people and outages. " * 28
_LOST_REASONS = ("Price", "Lost to a competitor", "No budget this year", "Project stopped", "Kein Bedarf mehr")
_CURRENCIES = ("USD",) * 7 + ("EUR",) * 2 + ("GBP", "JPY", "CHF")


def seed_portals(deals: int, seed: int, today: date, sizes: Mapping[int, int] | None = None) -> list[Portal]:
    """The portals that a person can choose on the consent page; the first has the wanted number of live deals.

    The others are a smaller one, one below the free tier's limit, and an empty one.

    :param deals: live deals of the first portal; archived and merged ones come on top.
    :param today: the day on which dates hang.
    :param sizes: live deals of further portals, by id; one that is named here and not among the four is added.
    """
    northwind = _portal(4128831, "northwind-cloud.com", "USD", "UTC", "+00:00", ("Nora", "Quinn"), ("Sam", "Okafor"))
    tailspin = _portal(
        5203377, "tailspin-analytics.com", "USD", "US/Pacific", "-08:00", ("Tessa", "Lind"), ("Omar", "Haddad")
    )
    wingtip = _portal(
        6117042, "wingtip-robotics.de", "EUR", "Europe/Berlin", "+01:00", ("Jörg", "Weiß"), ("Ines", "Krüger")
    )
    empty = _portal(
        7390265, "blue-yonder-air.com", "GBP", "Europe/London", "+00:00", ("Asha", "Patel"), ("Tom", "Reed")
    )
    usual = ((northwind, deals), (tailspin, 60), (wingtip, 7), (empty, 0))
    sizes = dict(sizes or {})
    chosen = {portal.id: (portal, sizes.pop(portal.id, count)) for portal, count in usual}
    for id_, count in sizes.items():
        names = ("Mira", "Holt"), ("Ivo", "Brandt")
        chosen[id_] = (_portal(id_, f"portal-{id_}.example", "USD", "US/Central", "-06:00", *names), count)
    for place, (portal, count) in enumerate(chosen.values()):
        _fill(portal, count, random.Random(f"{seed}/{place}"), today, several_currencies=place == 0)
    return [portal for portal, _ in chosen.values()]


def write_truth(portal: Portal, path: Path) -> None:
    """Write what is in a portal; see `truth_of`."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(truth_of(portal))


def truth_of(portal: Portal) -> Iterator[str]:
    """What is in a portal as JSON text, one deal a line: its live and archived deals with every property and what they
    are associated with, and the ids merged away.

    `{"portal", "merged", "deals": [{"id", "archived", "properties", "companies", "contacts"}]}`
    """
    head = {
        "portal": {"id": portal.id, "domain": portal.domain},
        "merged": {str(k): str(v) for k, v in portal.merged.items()},
    }
    yield json.dumps(head)[:-1] + ', "deals": ['
    for place, deal in enumerate(portal.deals[id_] for id_ in sorted(portal.deals)):
        row = {
            "id": str(deal.id),
            "archived": bool(deal.archived_at),
            "properties": properties_of(portal, deal, PROPERTIES),
            "companies": [str(id_) for id_ in deal.companies],
            "contacts": [str(id_) for id_ in deal.contacts],
        }
        yield (",\n" if place else "\n") + json.dumps(row, ensure_ascii=False)
    yield "\n]}\n"


def _portal(id_: int, domain: str, currency: str, zone: str, offset: str, *names: tuple[str, str]) -> Portal:
    people = tuple(
        Person(id_ * 10 + place, id_ * 3 + place, first, last, f"{_ascii(first)}@{domain}")
        for place, (first, last) in enumerate(names)
    )
    return Portal(id_, domain, currency, zone, offset, people)


def _fill(portal: Portal, count: int, rng: random.Random, today: date, *, several_currencies: bool) -> None:
    archived = max(2, count // 25) if count else 0
    kinds = [False] * count + [True] * archived
    rng.shuffle(kinds)
    midnight = (today - _EPOCH).days * _DAY
    generated = _generate(portal, kinds, rng, midnight, several_currencies)
    live = [deal for deal in generated if not deal.archived_at]
    survivors = sorted(rng.sample(range(len(live)), max(1, count // 50))) if count >= 4 else []
    merged: dict[int, int] = {}
    for place, survivor in enumerate(live[index] for index in survivors):
        olds = [17_000_000_000 + portal.id + place * 88 + step for step in (13, 57)]
        merged.update(dict.fromkeys(olds, survivor.id))
        survivor.entered["hs_merged_object_ids"] = ";".join(map(str, olds))
    portal.load(generated, merged)


def _generate(portal: Portal, kinds: list[bool], rng: random.Random, midnight: int, currencies: bool) -> list[Deal]:
    deals = []
    total = len(kinds)
    id_ = 18_000_000_000 + portal.id
    began = midnight - _HISTORY_DAYS * _DAY
    step = (_HISTORY_DAYS - 1) * _DAY // max(1, total)
    imported = range(total * 2 // 5, total * 11 // 20)
    imported_at = began + step * imported.start if total else began
    for place, archived in enumerate(kinds):
        id_ += rng.randrange(1, 48)
        created = imported_at if place in imported else began + place * step + rng.randrange(max(1, step))
        untouched = place in imported and rng.random() < 0.7
        modified = created if untouched else created + int((midnight - created) * rng.random() ** 3)
        entered = _values(portal, place, rng, created, midnight, currencies)
        entered["createdate"] = _iso(created)
        entered["hs_lastmodifieddate"] = _iso(modified)
        archived_at = _iso(max(modified, midnight - rng.randrange(1, 80 * _DAY))) if archived else None
        companies, contacts = _linked(portal, place)
        deals.append(Deal(id_, entered, archived_at, _changes(place, entered), companies, contacts))
    return deals


def _values(
    portal: Portal, place: int, rng: random.Random, created: int, midnight: int, currencies: bool
) -> dict[str, str]:
    chance = rng.random
    pipeline = PIPELINES[0 if chance() < 0.75 else 1 if chance() < 0.6 else 2]
    is_closed = chance() < 0.35
    stage = rng.choice([stage for stage in pipeline.stages if stage.closed == is_closed])
    values = {
        "dealname": _name(place, rng),
        "pipeline": pipeline.id,
        "dealstage": stage.id,
    }
    if place % 12 != 5:
        values["amount"] = _amount(place, rng)
    if currencies:
        values["deal_currency_code"] = rng.choice(_CURRENCIES)
    if place % 23 != 11:
        values["closedate"] = _close_date(place, rng, is_closed, created, midnight)
    if chance() < 0.9:
        values["dealtype"] = "newbusiness" if chance() < 0.7 else "existingbusiness"
    if chance() < 0.6:
        values["description"] = (
            _SHORT_PROBLEM if place % 14 == 3 else _LONG_PROBLEM if place % 60 == 21 else rng.choice(_PROBLEMS)
        )
    if chance() < 0.85:
        values["hubspot_owner_id"] = str(rng.choice(portal.people).id)
    if stage.probability == "0.0" and chance() < 0.7:
        values["closed_lost_reason"] = rng.choice(_LOST_REASONS)
    values |= _oddities(place)
    if not currencies:
        values |= _beyond(place)
        if place % 29 == 17:
            del values["dealname"]
    return values


def _oddities(place: int) -> dict[str, str]:
    """What few deals have instead of the usual values. It draws nothing, so that all others stay as they are."""
    odd = {}
    if place % 61 == 47:
        odd["amount"] = _ODD_AMOUNTS[place // 61 % len(_ODD_AMOUNTS)]
    if place % 73 == 50:
        odd["description"] = _ODD_TEXT
    return odd


def _beyond(place: int) -> dict[str, str]:
    """What nobody can take over as it is; the first portal has none of it, nor a time zone, so that whoever reads it
    may compare value for value."""
    odd = {}
    if place % 31 == 20:
        odd["amount"] = _TOO_FINE
    if place % 31 == 9:
        odd["dealname"] = f"{_UNTIDY_NAMES[place // 31 % len(_UNTIDY_NAMES)]} {place}"
    return odd


def _changes(place: int, entered: dict[str, str]) -> tuple[Change, ...]:
    """Two deals in seven began at another stage; the rest have only ever had the values that they have."""
    created, modified = entered["createdate"], entered["hs_lastmodifieddate"]
    stages = next(pipeline.stages for pipeline in PIPELINES if pipeline.id == entered["pipeline"])
    first, now = stages[place % 2].id, entered["dealstage"]
    if place % 7 not in (2, 4) or created == modified or first == now:
        return ()
    return (Change(modified, "edited", USER, {"dealstage": (first, now)}),)


def _linked(portal: Portal, place: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of a deal's companies and contacts: none for some, two companies for few; companies have several deals."""
    company, contact = 9_400_000_000 + portal.id + place // 3, 11_000_000 + portal.id * 10 + place
    companies = () if place % 9 == 8 else (company, company + 500_000) if place % 17 == 4 else (company,)
    return companies, () if place % 4 == 3 else (contact, contact + 700_000) if place % 5 == 1 else (contact,)


def _name(place: int, rng: random.Random) -> str:
    if place % 35 == 4:
        return f"{_ODD_NAMES[place // 35 % len(_ODD_NAMES)]} {place}"
    return f"{rng.choice(_COMPANIES)} – {rng.choice(_PROJECTS)} {place}"


def _amount(place: int, rng: random.Random) -> str:
    if place % 10 == 2:
        return "1000.5" if place % 40 == 2 else f"{rng.randrange(1_000, 90_000)}.{rng.choice(('5', '05', '99', '25'))}"
    if place % 50 == 9:
        return "0" if place % 100 == 9 else str(rng.randrange(2_000_000, 900_000_000))
    return str(rng.randrange(5, 900) * 500)


def _close_date(place: int, rng: random.Random, is_closed: bool, created: int, midnight: int) -> str:
    if is_closed:
        day = created + (midnight - created) * rng.randrange(1, 100) // 100
    elif place % 7 == 1:
        day = midnight - rng.randrange(2, 200) * _DAY
    else:
        day = midnight + rng.randrange(2, 300) * _DAY
    return _iso(day - day % _DAY + (0 if place % 6 == 0 else rng.randrange(_DAY)))


def _iso(moment: int) -> str:
    """Milliseconds since the epoch as HubSpot writes them."""
    day, rest = divmod(moment, _DAY)
    seconds, milliseconds = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_day(day)}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"


@cache
def _day(number: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()


def _ascii(name: str) -> str:
    return name.lower().replace("ö", "oe").replace("ß", "ss").replace("ü", "ue")
