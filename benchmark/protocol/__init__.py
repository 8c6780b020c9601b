"""Protocols: what is fixed, so that figures can be compared."""
