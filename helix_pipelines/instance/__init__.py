"""What runs around the stages: embedded services, the Dagster instance, and its supervisor."""
