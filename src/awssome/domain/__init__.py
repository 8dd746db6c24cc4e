"""Plain types and rules. Nothing here reads or writes anything outside the process."""
