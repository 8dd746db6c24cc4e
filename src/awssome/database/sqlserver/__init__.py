"""SQL Server 2019 or newer as an engine of the data plane."""
