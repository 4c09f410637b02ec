"""`python -m agebench` is `agebench`."""

from agebench.cli import main

if __name__ == "__main__":
    main()
