"""`python -m streams`: the same command as the installed `leidan`."""

from streams.cli import main

if __name__ == "__main__":
    main()
