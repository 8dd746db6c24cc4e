"""The control plane: the operators' pages and the central API."""
