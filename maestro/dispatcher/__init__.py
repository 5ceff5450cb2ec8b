"""The dispatcher: fires due schedules and publishes what is owed; PostgreSQL keeps its replicas apart."""
