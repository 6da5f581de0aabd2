"""The documentation as a site: `python -m docs.site`. Its pages are Markdown that also reads well where it lies."""
