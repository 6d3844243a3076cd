"""``cenote bench URL``: what each option of a pool is worth on your own database.

The experiments are those known from Go's ``database/sql``: parallel INSERTs by `max_open`, `max_idle` and
`max_lifetime`, a server with a limit, and statements that sleep. `command` runs them from beginning to end;
`experiments` is the list of them; `site` is all they touch on the server.
"""
