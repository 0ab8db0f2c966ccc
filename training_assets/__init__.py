"""Code location 2: what do we do about it? Trigger, training, proof, registration, rollout, scoring."""
