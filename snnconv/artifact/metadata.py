"""What an exported artifact says about itself, in every format."""

METADATA_FORMAT = 1
"""The format of the metadata: an artifact of another one is refused by name."""
