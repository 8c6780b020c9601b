"""Planning: from labels to entrants, cells and the plan that is written down."""
