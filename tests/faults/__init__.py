"""Faults inflicted on running benches and on their files, and what must stand when all is over: see `make faults`."""
