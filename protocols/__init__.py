"""Protocols: *.yaml, their splits, and the digests of released versions."""
