"""/etc/geard/geard.toml as `gear setup` writes it once: every key with its default, as a comment."""

from __future__ import annotations

TEXT = """\
# Settings of geard for this machine; docs/SETTINGS.md says more. Written once by 'gear setup'; yours to change.
# A change acts at once. 'gear config check' says whether it is right, 'gear config show' what is in force.

[engine]
# default = "podman"               # the engine of gears that are installed without --engine: podman, docker

[containers]                       # what a gear gets where its install says nothing
# slice = "container-small"        # container-small, container, container-large
# restart = "always"               # always, on-failure, no
# stop-timeout = 10                # seconds from TERM to KILL
# memory = {}                      # of one gear, by slice: { container-small = "1G" }; else 512M, 1G, 4G
# cpus = 0                         # 0: no limit of its own
# pids = 1024                      # processes and threads; 0: no limit of its own
# quota = ""                       # of its volumes, such as "10G", on a disk with quotas; empty: none
# host-user = ""                   # a user of the host that its root is; "apps:33": its user 33. Empty: none
# ids = ""                         # FIRST-LAST: ids of the host that new gears get theirs of; empty: 2000000 on

[registries]
# default = "docker.io"            # completes names without a registry
# mirrors = {}                     # tried first, in order: { "docker.io" = ["mirror.example:5000"] }
# insecure = []                    # spoken to without TLS, or with any certificate: ["mirror.example:5000"]
# allow = []                       # what may be pulled, all if empty: ["docker.io/library/*"]
# stall = 300                      # seconds without a byte, after which a pull is given up

[images]
# keep-days = 14                   # how long an image stays that nothing needs, when gear prune or the agent looks
# prune = false                    # the agent removes such images by itself, looking every hour
# keep = []                        # names that are never removed so: ["docker.io/acme/*"]
# peers = []                       # machines of gear host list, asked for an image before its registry: ["h2"]

[ports]
# publish = ""                     # the host's address that ports are published on; empty: all
# range = "4000-59999"             # where free ports are taken from

[idling]                           # docs/IDLING.md
# after = "never"                  # without a connection, gears fall asleep that say nothing else: "15m"
# depth = "stop"                   # stop: the program ends; freeze: it stands still, and keeps its memory
# asleep = "never"                 # each day: "22:00-06:00", a minute without a connection is enough then
# slices = {}                      # after, by slice: { container-large = "15m" }
# wake-from = []                   # whose connections wake a gear that does not say it itself: ["10.0.0.0/8"]
# ready = 100                      # of those that are stopped: containers kept made, for a quick wake; 0: none
# wake-interfaces = []             # by which interfaces these have to come: ["eth1", "wg*"]
# wakes-of-one = 30                # gears that one address may wake within a minute; 0: no bound

[hooks]                            # run as root for each gear, which is JSON on their input: docs/HOOKS.md
# added = []                       # before a new gear is started first: ["/usr/local/sbin/gear-added"]
# changed = []                     # before a gear runs that was changed
# deleted = []                     # when nothing of a deleted gear runs any more

[jobs]                             # containers that run once: docs/JOBS.md
# keep-hours = 168                 # output, result and files of those that have ended
# keep-jobs = 1000                 # of so many at most; the oldest go first
# keep-output = "16m"              # of what one job writes: its beginning and its end
# artifacts = "1g"                 # the most that one job may hand back
# time-limit = 0                   # seconds; 0: none
# memory = "512m"
# cpus = 0                         # 0: no limit of its own
# pids = 1024                      # processes and threads

[requests]
# at-once = 0                      # how many start, pull, build at a time; 0: 2 for each processor, 4 at least
# keep-hours = 24                  # for how long what came of a request is kept: 1 at least
# keep-megabytes = 128             # on disk; beyond that the oldest go

[fetch]
# allow = []                       # private networks that --env-url may fetch from: ["10.0.0.0/8"]
# urls = []                        # what askers without the scope admin may have fetched: ["https://a.example/"]

[builds]                           # what a build of an image may use: docs/BUILDS.md
# at-once = 2                      # the others wait for their turn
# time-limit = 3600                # seconds; 0: no limit
# memory = "2g"
# cpus = 0.0                       # 0: as many as there are
# pids = 2048
# source-limit = "2g"              # of an archive
# output-limit = "16m"             # of what one prints is kept
# spare-disk = "1g"                # one is ended when less is left
# network = true
# git-image = "geard/githost"      # what git runs in that fetches sources
# keep-days = 30
# keep = 100

[agent]                            # whom its agent listens to beside this machine: docs/SECURITY.md
# listen = []                      # ADDRESS[:PORT] for TLS: ["0.0.0.0:43273"]; then systemctl enable --now geard
# names = []                       # further names and addresses of this machine, for its certificate

[repositories]                     # docs/GIT.md
# image = "geard/githost"          # what they are hosted in: with git and sh
# branch = "master"                # of a new one's HEAD
# push-limit = "1g"                # of one push; "0": none
# limit = "10g"                    # of one repository; "0": none
# allow = []                       # private networks that they may be cloned from: ["10.0.0.0/8"]

[callbacks]
# allow = []                       # private networks that callbacks may tell: ["10.0.0.0/8"]

[allow]                            # what askers without the scope admin may do all the same
# mounts = []                      # host folders they may mount, with all below: ["/srv/data", "/srv/logs:ro"]
# simple = false                   # gears that share the host's users (--simple)
# host-users = []                  # users of the host that gears may share (--host-user): ["www-data"]
"""
