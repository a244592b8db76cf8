"""One's own population: who the users are, what each alignment method would do to them, and the report."""
