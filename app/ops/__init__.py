"""What operators look at: health, numbers."""
