"""The HubSpot sandbox: a stand-in that behaves on the wire like HubSpot's OAuth and CRM APIs.

It runs as a process of its own (`python -m awssome_sandbox.hubspot`) and is reached only by base URL. Versions 2026-03,
2026-09 and v3 answer alike; OAuth v1 is kept for old clients. State is in memory and is touched by one thread only, the
event loop's: handlers are plain functions that never wait, so there are no locks.

A deal is changed in one place, `portals`, whether by the CRM API, the control API or the pages.

Not there: the companies and contacts that deals are associated with.
"""
