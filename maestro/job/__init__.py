"""Jobs: one execution of an automation each, from accepted to ended."""
