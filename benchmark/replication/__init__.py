"""Replication: other people's figures, and what is known of how they were made."""
