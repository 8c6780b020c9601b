"""Data: from a data set to the HR and LR volumes that cells use."""
