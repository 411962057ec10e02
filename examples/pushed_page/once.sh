#!/bin/sh
# once.sh PUBLIC-KEY: a repository whose pushes become the gear "page".
set -eu
gear create-repo page
gear keys --repo --write page --key-file "$1"
gear builds on-push page page --start page
