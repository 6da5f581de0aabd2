"""Measuring a bundle: errors against the truth, beside what copying the source would give."""
