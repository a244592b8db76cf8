"""A population of one's own: who the users are, what each alignment method would do to them, and a report."""
