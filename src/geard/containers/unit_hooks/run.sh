#!/bin/sh
# A gear's container, on podman, by the words of its definition. Of a gear that is idle and to be kept ready it is made
# and no more: mounts, namespaces, network; its program has yet to begin (podman-init(1)), with the next connection.
#
#     gear-run ctr-ID OPTION… IMAGE [WORD…]
set -u
base=/var/lib/containers run=/run/geard
podman='/usr/bin/podman --events-backend=none' notify=/usr/bin/systemd-notify
name=$1 id=${1#ctr-} state=$run/gears/$1
shift
if [ -e "$state/ready" ]; then
    if [ -e "$base/units/${id%"${id#??}"}/$name.idle" ]; then
        $podman create --sdnotify=ignore --conmon-pidfile="$state/conmon" "$@" >/dev/null &&
            echo 'its container is made and kept ready: its program begins with the next connection' >&2 &&
            $podman init "$name" || exit
        read -r conmon <"$state/conmon"
        exec $notify --ready "MAINPID=$conmon"
    fi
    # It was told something else meanwhile: to stop, or to start.
    [ -L "$base/targets/container-active.target.wants/$name.service" ] && rm -f "$state/ready" || exit
fi
# -d: a podman that stays in the foreground costs 50 MB a gear, and shows its arguments for as long.
exec $podman run -d --sdnotify=conmon "$@"
