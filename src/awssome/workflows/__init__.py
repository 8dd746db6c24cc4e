"""Background jobs: provisioning, sync, moves, mail and sweeps. A job says "carry this on"; the state is elsewhere."""
