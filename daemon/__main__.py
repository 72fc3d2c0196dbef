"""`python -m daemon` is `affectd`."""

from daemon.cli import main

if __name__ == "__main__":
    main()
