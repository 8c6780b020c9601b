"""How a data set's files come to be there, and what they are: `bench data get NAME`.

download → unpack → obtain (only what is missing) → audit (every file, whole) → inventory (said in words).
"""
