"""The bridge: the claims on language models whose law over a finite set of responses is known exactly."""
