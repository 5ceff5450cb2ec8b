"""When to run: cron expressions in time zones, their rows, and firing what is due."""
