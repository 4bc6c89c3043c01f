"""The rules that web processes and workers share: pure Python without input or output."""
