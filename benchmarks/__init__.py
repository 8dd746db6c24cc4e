"""One file a question; each measures beside its peer or floor in the same run and prints ratios."""
