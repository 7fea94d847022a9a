"""`python -m cryofind`."""

from cryofind.cli import main

if __name__ == "__main__":
    main()
