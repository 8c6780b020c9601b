"""Figures for a paper, from plans, records and exhibits alone: no method, no data and no torch are needed.

One module a figure. Each has `draw(table, ...)`, which gives a `Picture`; `picture.write_picture` writes it.
"""
