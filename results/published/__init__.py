"""Quoted figures of published tables, their sources and known errors: data files, read by `mrsr_bench.quoted`."""
