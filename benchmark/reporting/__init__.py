"""Reporting: tables made from records alone."""
