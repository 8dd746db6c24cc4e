"""PostgreSQL 16 or newer as an engine of the data plane."""
