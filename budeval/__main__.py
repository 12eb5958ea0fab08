"""`python -m budeval`: the same as `budeval`."""

from budeval.cli import main

main()
