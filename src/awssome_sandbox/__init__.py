"""Stand-ins for HubSpot, AWS and a mail server: processes of their own, reached only by base URL.

The product shares no code with them, so that neither can lean on the other's mistakes.
"""
