"""Large tenants, made by the server itself: awkward texts, JSON, bytes, NULLs, in the proportions of a busy tenant."""

from __future__ import annotations

from awssome.database.postgresql.driver import trusted
from benchmarks import platform

SHARES = {"deal_registrations": 0.2, "deal_events": 0.5, "hubspot_mappings": 0.2, "sync_issues": 0.1}
"""Which part of a tenant's rows is in which table."""

_SYNC = "01900000-0000-7000-8000-000000000001"

_FILL = """
INSERT INTO {schema}.sync_history (id, state, attempt, requested_by, imported, seen, created, updated, unchanged,
    left_out, failed, calls, requested_at, finished_at)
VALUES ('{sync}', 'done', 1, 'alice@northwind.example', {deals}, {deals}, {deals}, 0, 0, 0, 0, {deals} / 100,
    '2026-11-26T12:00:00Z', '2026-11-26T12:05:00.000001Z');

INSERT INTO {schema}.deal_registrations (id, source, title, stage, customer_company, customer_website,
    customer_country, business_problem, target_close_date, deal_amount, deal_currency, edited_fields, ready, version,
    created_at, updated_at, updated_by, sales_activities, additional_comments)
SELECT uuidv7(), 'hubspot', 'Zoë’s Ünïcode – 日本語 🚀 ' || n, 'Prospect', 'Customer ' || n || ' ~,3:abc, GmbH',
    CASE WHEN n % 3 > 0 THEN 'https://customer-' || n || '.example/' END, 'DE',
    E'Reports take a night,\\tand nobody\\nknows "why" \\\\N. ' || repeat('x', n % 200),
    date '2027-01-01' + n % 365, n % 1000000 + 0.37, 'EUR', '["title"]', n % 2 = 0, 1 + n % 9,
    '2026-11-26T12:00:00Z', timestamptz '2026-11-26T12:00:00Z' + n * interval '1 ms', 'alice@northwind.example',
    CASE WHEN n % 4 = 0 THEN '["Conducted POC / Demo", "Completed Action Plan"]'::jsonb END, ''
FROM generate_series(1, {deals}) AS n;

CREATE TEMP TABLE numbered ON COMMIT DROP AS SELECT id, row_number() OVER () AS n FROM {schema}.deal_registrations;
CREATE UNIQUE INDEX ON numbered (n);
ANALYZE numbered;

INSERT INTO {schema}.deal_events (id, registration_id, at, kind, actor, changes, sync_id)
SELECT uuidv7(), id, '2026-11-26T12:00:00Z', 'updated', 'sync',
    jsonb_build_object('title', jsonb_build_array(NULL, 'Zoë’s Ünïcode ' || e)), '{sync}'
FROM generate_series(1, {events}) AS e JOIN numbered ON n = 1 + e % {deals};

INSERT INTO {schema}.hubspot_mappings (portal_id, deal_id, registration_id, state, source_hash, modified_at,
    first_sync_id, last_sync_id, created_at, held_back)
SELECT 4711, (900000000 + n)::text, id, 'imported', sha256(n::text::bytea), '2026-11-25T12:00:00Z',
    '{sync}', '{sync}', '2026-11-26T12:00:00Z', CASE WHEN n % 5 = 0 THEN '{{"title": "a | b \\\\ c"}}'::jsonb END
FROM numbered;

INSERT INTO {schema}.sync_issues (id, sync_id, kind, deal_id, registration_id, title, field, reason, advice, code)
SELECT uuidv7(), '{sync}', 'cut', (900000000 + i)::text, id, 'Zoë’s Ünïcode', 'business_problem',
    'The text has 2,417 characters, and a registration takes 2,000.', 'Shorten it in HubSpot.', 'too_long'
FROM generate_series(1, {issues}) AS i JOIN numbered ON n = 1 + i % {deals};
"""


def fill(url: str, schema: str, rows: int) -> None:
    """Give an empty tenant so many rows, as the server's administrator."""
    counts = {table: max(1, int(rows * share)) for table, share in SHARES.items()}
    script = _FILL.format(
        schema=schema,
        sync=_SYNC,
        deals=counts["deal_registrations"],
        events=counts["deal_events"],
        issues=counts["sync_issues"],
    )
    with platform.connected(url) as connection:
        connection.execute(trusted(script))
        for table in SHARES:
            connection.execute(trusted(f"VACUUM ANALYZE {schema}.{table}"))
