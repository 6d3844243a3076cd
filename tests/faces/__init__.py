"""Both faces of the pool, proven by the same tests wherever they promise the same."""
