"""`python -m snnconv` does what `snnconv` does."""

from snnconv_cli.main import main

main()
