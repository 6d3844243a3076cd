"""Tests of the connectors against the real drivers and servers."""
