"""`python -m weft_common.cli`, for where the command itself is not on PATH."""

from weft_common.cli.app import main

if __name__ == "__main__":
    main()
