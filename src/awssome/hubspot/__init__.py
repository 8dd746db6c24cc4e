"""HubSpot's API: consent and tokens (`oauth`), deals and what describes them (`client`), its limits and its errors."""
