"""Estimating: what a run would do, cost and need, before it runs."""
