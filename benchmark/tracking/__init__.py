"""MLflow: a mirror of the records that a team looks at, and the way back from it. Records stay the truth."""
