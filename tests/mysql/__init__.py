"""Pools on a real MariaDB that is restarted, killed, limited and silent: every driver, threads and tasks."""
