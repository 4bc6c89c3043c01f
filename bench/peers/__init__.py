"""Relays and workers of other designs, written as their own documentation and tutorials recommend."""
