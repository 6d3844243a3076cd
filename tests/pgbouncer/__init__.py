"""The pools through PgBouncer, and what PgBouncer does to statements, transactions and cancellations."""
