"""What web and worker agree on: pure Python, no input or output."""
