"""`python -m mrsr_bench` is `bench`."""

from .cli import main

if __name__ == "__main__":
    main()
