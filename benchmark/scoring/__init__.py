"""Scoring: a prediction and its truth become figures."""
