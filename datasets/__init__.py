"""Data sets: one file, one data set; the stem is its name."""

if __name__ == "datasets":
    raise ImportError(
        "this folder is mrsr_bench.datasets; with the checkout itself on sys.path it would hide the well-known "
        "'datasets' package. Import mrsr_bench.datasets, or start Python elsewhere."
    )
