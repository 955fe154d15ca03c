"""bridge: customer databases in, telephones out."""

__version__ = "0.1.0"
