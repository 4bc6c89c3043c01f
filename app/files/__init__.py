"""Bytes of uploads: where they are stored, and what they are, found by looking at them and not by their name."""
