"""`python -m attnrules`: the same as the `attnrules` command."""

from attnrules.cli import main

main()
