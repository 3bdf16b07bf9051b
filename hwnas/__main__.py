"""``python -m hwnas`` is the command ``hwnas``."""

from hwnas.cli import main

if __name__ == "__main__":
    main()
