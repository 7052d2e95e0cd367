"""The simulators room: worlds that a manifest may name, in which agents practice.

The room is empty in this version, and its door says so: no name is offered
before something stands behind it. Simulators will answer as tools of an MCP
server do; their numeric libraries load only when a manifest names them. Nothing
here may know the runtime, and the runtime meets a simulator by name only.
"""

__all__: list[str] = []
