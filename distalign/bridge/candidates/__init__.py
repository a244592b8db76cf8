"""A language model as a policy over a finite set of responses, whose law is known exactly."""
