"""The nine tables that a tenant of ours has, as Django models."""
