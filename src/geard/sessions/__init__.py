"""A program or a shell inside a gear that runs: `gear exec`, `gear shell`, `switchns`.

It is the engine that runs it (`podman exec`), inside the gear's namespaces, limits and protections: nobody gets
more there than the gear has. It ends with whoever asked for it.
"""
