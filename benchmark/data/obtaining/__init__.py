"""Obtaining: a data set's files are downloaded, unpacked and audited by `bench data get NAME`.

download → unpack → obtain (only missing files) → audit (reads every file whole) → inventory (the summary as text).
"""
