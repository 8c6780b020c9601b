"""Quoted figures of published tables, their sources and known errors: data files, for `replication.published`."""
