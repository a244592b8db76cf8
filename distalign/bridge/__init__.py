"""The bridge: claims of the theory on language models, whose law over a finite set of responses is known
exactly.
"""
