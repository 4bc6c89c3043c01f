"""Health, metrics and commands for operators."""
