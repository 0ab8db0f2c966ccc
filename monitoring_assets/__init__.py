"""Code location 1: what happened? Keeps running when the training location cannot even be imported."""
