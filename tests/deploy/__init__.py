"""Tests of what is installed in a cluster: definitions, chart, manifest and rights."""
