"""Fault injection: faults in running benches and in their files, and checks of the results. See `make faults`."""
