#!/bin/sh
# Before a gear starts: the usual case of gear-prepare.py, for which nobody waits for a Python. A gear on podman whose
# image is here, without variables, secrets or links, and without SELinux. The rest is that program's.
set -u
umask 077
base=/var/lib/containers run=/run/geard selinux=/sys/fs/selinux/enforce sockets=/proc/net
prepare=/usr/lib/geard/gear-prepare.py
id=${1#ctr-}
state=$run/gears/$1
version='' engine='' environment='' image='' whole='' words=''

is_usual() {
    units=$base/units/${id%"${id#??}"} # its first two characters
    for unusual in "$state/forgive" "$state/secrets" "$state/links"; do
        [ ! -e "$unusual" ] || return 1
    done
    [ -r "$units/$1.run" ] && [ ! -e "$selinux" ] && [ ! -e "$run/ports/$1" ] && [ ! -e "$units/$id/hook-owed" ] &&
        [ ! -e "$base/ports/links/${units##*/}/$id" ] || return 1
    while [ ! "$whole" ] && IFS= read -r line; do
        value=${line#*=\"} value=${value%\"}
        case $line in
        GEAR_VERSION=*) version=$value ;;
        GEAR_ENGINE=*) engine=$value ;;
        GEAR_ENVIRONMENT=*) environment=$value ;;
        GEAR_IMAGE=*) image=$value ;;
        GEAR_SECRETS=* | GEAR_IO=* | GEAR_QUOTA=* | GEAR_HOST_USER=*) return 1 ;;
        GEAR_RUN=*) whole=yes words=$value ;; # it stands last
        esac
    done <"$units/$1.run"
    [ "$whole" ] && [ "$engine" = podman ] && [ -d "$base/storage/overlay-images/${image:-.none}" ] &&
        [ "$environment" ] && [ ! -e "$base/env/contents/${environment%"${environment#??}"}/$environment" ]
}

# Whether something listens on a number that the gear publishes (proc(5), /proc/net/tcp): that program says what.
is_taken() {
    set -f --
    for word in $words; do
        word=${word%\\\"} # one with brackets is quoted
        case $word in
        *[0-9]:*/tcp) kind=0A ;;
        *[0-9]:*/udp) kind=07 ;;
        *) continue ;;
        esac
        port=${word%:*} port=${port##*:}
        case $port in *[!0-9]*) continue ;; esac
        set -- "$@" -e "$(printf ':%04X [0-9A-F]*:0000 %s ' "$port" "$kind")"
    done
    [ $# -gt 0 ] && grep -q "$@" "$sockets/tcp" "$sockets/tcp6" "$sockets/udp" "$sockets/udp6" 2>/dev/null
}

lay_out() {
    if [ -d "$state" ]; then # what an earlier run left
        rm -f "$state/pid" "$state/cid" "$state/failure" "$state/permanent" "$state/overridden" "$state/links-pid"
    else
        mkdir "$state"
    fi && : >"$state/env" &&
        printf 'GEAR_ENV="--env-file=%s/env"\n' "$state" >"$state/environment" &&
        printf %s "$engine" >"$state/engine" &&
        printf %s "$version" >"$state/version"
}

is_usual "$1" && ! is_taken && lay_out 2>/dev/null || exec "$prepare" "$1"
