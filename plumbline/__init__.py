"""The command line: a thin face over functions that Dagster jobs call too."""
