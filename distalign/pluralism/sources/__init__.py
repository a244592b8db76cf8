"""Where a scenario's users come from: votes, Polis conversations, tables of utilities, random places."""
