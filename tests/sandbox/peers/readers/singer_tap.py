"""`tap-hubspot`, the first of the Singer taps: it reads deals by version 1."""

from __future__ import annotations

import tap_hubspot
from reading import arguments, redirect

url, token = arguments()
redirect(url)
tap_hubspot.CONFIG.update(
    access_token=token, token_expires=tap_hubspot.datetime.datetime.max, start_date="2000-01-01T00:00:00Z"
)
tap_hubspot.CONFIG["token_expires"] = tap_hubspot.datetime.datetime.utcnow() + tap_hubspot.datetime.timedelta(hours=1)
