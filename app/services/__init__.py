"""Use cases. A use case runs in whole transactions of its own."""
