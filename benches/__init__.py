"""How fast cenote is beside its peers: ratios measured side by side in one run, never a timed test."""
