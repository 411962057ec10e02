"""Git repositories, hosted in a container that runs: `gear create-repo`, `git clone git-NAME@HOST:NAME`.

Each is a bare repository in a folder of its own, and has a user of the host that owns it. Whatever git does for
somebody there is done in the container geard-githost, which has no network, by that user.
"""
