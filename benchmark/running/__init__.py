"""Running: what is missing is made, each training in a process of its own, and recorded."""
