"""Measurements that take long: run by hand, their results are committed. Nothing here is imported by the product."""
