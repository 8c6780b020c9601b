"""Training: the one loop of all networks. It knows no store."""
