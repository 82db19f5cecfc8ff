"""Automations for Pipedrive."""
