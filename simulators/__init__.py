"""The simulators room."""
