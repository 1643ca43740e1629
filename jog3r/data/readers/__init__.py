"""Readers of the data sets that the field trains on, one file each."""
