"""The lab: real Debian hosts to try geard on, booted in about two seconds.

Each host is a systemd-nspawn machine with systemd as PID 1, its own disk (an overlay over a shared base) and
its own network namespace on a bridge without an uplink. `scripts/lab --help` has the commands.

A host of the suite `vm` is a virtual machine instead: what needs a kernel of its own is tried there.

Nothing is shared with the machine outside but its kernel: hosts have no route to it, and `down` leaves
nothing of them behind. The base stays in the cache.

    machine   the machine outside: running programs, what it has, where the lab keeps its files
    apt       which mirror and settings the machine itself uses
    base      the disk below all hosts: Debian and what a host needs, then the lab's configuration
    furnish   that configuration
    images    sample container images
    applications  images of real programs, made when somebody wants one
    network   bridge and network namespaces
    cgroups   the control groups that a host lives in
    door      running commands inside a host
    host      one host: start, stop, exec
    vm        one that is a virtual machine
    kernel    the disk of such machines
    relay     their door
    geard     installing geard in a host
    labs      several hosts together: up, down, status
"""
