#!/bin/sh
# Before a gear starts: the usual case of gear-prepare.py, for which nobody waits for a Python. A gear that has not
# run since the machine did, on podman, whose image is here, without variables, secrets or links, and without SELinux. The rest is that program's.
set -u
umask 077
base=/var/lib/containers run=/run/geard selinux=/sys/fs/selinux/enforce
prepare=/usr/lib/geard/gear-prepare.py
id=${1#ctr-}
state=$run/gears/$1
version='' engine='' environment='' image='' whole=''

is_usual() {
    units=$base/units/${id%"${id#??}"} # its first two characters
    [ -r "$units/$1.run" ] && [ ! -e "$state" ] && [ ! -e "$selinux" ] && [ ! -e "$run/ports/$1" ] && [ ! -e "$units/$id/hook-owed" ] &&
        [ ! -e "$base/ports/links/${units##*/}/$id" ] || return 1
    while [ ! "$whole" ] && IFS= read -r line; do
        value=${line#*=\"} value=${value%\"}
        case $line in
        GEAR_VERSION=*) version=$value ;;
        GEAR_ENGINE=*) engine=$value ;;
        GEAR_ENVIRONMENT=*) environment=$value ;;
        GEAR_IMAGE=*) image=$value ;;
        GEAR_SECRETS=* | GEAR_IO=* | GEAR_QUOTA=* | GEAR_HOST_USER=*) return 1 ;;
        GEAR_RUN=*) whole=yes ;; # it stands last
        esac
    done <"$units/$1.run"
    [ "$whole" ] && [ "$engine" = podman ] && [ -d "$base/storage/overlay-images/${image:-.none}" ] &&
        [ "$environment" ] && [ ! -e "$base/env/contents/${environment%"${environment#??}"}/$environment" ]
}

lay_out() {
    mkdir "$state" && : >"$state/env" &&
        printf 'GEAR_ENV="--env-file=%s/env"\n' "$state" >"$state/environment" &&
        printf %s "$engine" >"$state/engine" &&
        printf %s "$version" >"$state/version"
}

is_usual "$1" && lay_out 2>/dev/null || exec "$prepare" "$1"
