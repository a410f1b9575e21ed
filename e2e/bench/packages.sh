#!/bin/sh
# Installs the Debian packages that the benchmark compares with, without starting any service.
exec "$(dirname "$0")/../packages.sh" haproxy nftables
