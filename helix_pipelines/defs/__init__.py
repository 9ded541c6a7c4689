"""The Dagster definitions: assets, partitions, checks, jobs, sensors and schedules."""
