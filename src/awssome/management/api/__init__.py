"""The central API, below /api/v1: the only way the portal learns of a tenant, and the operators' command line."""
