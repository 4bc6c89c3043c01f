"""Sign-in by an identity provider, OpenID Connect: the relying party. It knows no sessions and no HTTP framework."""
