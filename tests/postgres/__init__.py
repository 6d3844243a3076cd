"""The pools on real PostgreSQL servers that restart, refuse, kill and limit."""
