"""Which version of HubSpot's API is spoken."""

API_VERSION = "2026-03"
"""The dated version in every path. Supported until September 2027; a change is this line and one run against a
developer test account (developers.hubspot.com, developer tooling, platform, versioning)."""
