"""Noise schedules, guidance and samplers."""
