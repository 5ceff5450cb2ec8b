"""Automations: what can be run."""
