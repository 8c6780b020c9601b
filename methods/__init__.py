"""Methods: one file, one method; the stem is its name. Files with a leading underscore are shared blocks."""
