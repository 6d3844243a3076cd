"""The counting proxy does what its docstring says."""
