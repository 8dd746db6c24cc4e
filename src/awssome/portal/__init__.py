"""The tenants' pages: sign-up, account, deals, HubSpot and sync, plan, people. `app.create` makes the application.

A page gets its tenant's data through `context` and nowhere else; what is not the tenant's own it asks the central API.
"""
