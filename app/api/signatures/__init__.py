"""Signed requests: a narrow profile of HTTP Message Signatures (RFC 9421) with shared secrets."""
