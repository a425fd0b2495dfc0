"""`python -m snnconv` does what `snnconv` does."""

from snnconv.cli.main import main

main()
