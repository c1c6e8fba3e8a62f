"""``python -m busd`` is ``busd``."""

from busd.cli import main

if __name__ == "__main__":
    main()
