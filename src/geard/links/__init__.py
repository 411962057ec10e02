"""What a gear reaches under addresses of its own: `127.0.0.2:8081` inside leads to `9.8.23.14:8080` outside.

Links are rules in the gear's own network namespace, there before its program's first call and changed while it
runs; the image needs nothing. They belong to the gear as its environment does, not to a version of it: a link says
where another is *now*, and a rollback of this one has not moved that one back. How it works: docs/LINKS.md.
"""
