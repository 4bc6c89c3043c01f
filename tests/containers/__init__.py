"""The Compose file in real containers, by Podman: ``python -m tests.containers``."""
