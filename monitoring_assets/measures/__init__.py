"""Pure statistics: no dagster, no duckdb, no mlflow. Fitted on the reference only, applied to chunks."""
