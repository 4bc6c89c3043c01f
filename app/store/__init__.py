"""PostgreSQL: the authority. Functions take an open transaction; only services open and commit one."""
