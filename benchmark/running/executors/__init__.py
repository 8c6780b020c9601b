"""Executors: where a cell runs."""
