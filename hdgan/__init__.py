"""hdgan."""
