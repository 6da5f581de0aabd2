"""What is wrong with a document."""


class DocumentError(Exception):
    """A document that would not make a whole site: a dead link, a page nobody can reach, an equation not understood."""
