"""`python -m snnconv_cli` does what `snnconv` does."""

from snnconv_cli.main import main

main()
