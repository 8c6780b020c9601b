"""The page: a folder that shows protocols' figures and slices in a browser, from disk."""
