"""Bridges to other training libraries; each is imported by its own name, none by `import distalign`."""
