"""The pool's behaviour as data, played on the core alone, on threads and on asyncio."""
