#!/bin/sh
# Installs the Debian packages that the tests with real servers and clients need, without starting
# any service; or those that its arguments name. Without root it prints the command and fails.
set -eu

packages='nginx-light openssh-server openssh-client redis-server redis-tools postgresql postgresql-client exim4-daemon-light swaks libio-socket-inet6-perl curl'
[ $# -eq 0 ] || packages="$*"

missing=''
for p in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "packages are missing; install them with:" >&2
	echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi

# invoke-rc.d asks policy-rc.d before it starts a service; 101 is "no".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() {
	# shellcheck disable=SC2086 # one word for each package
	apt-get install -y -q --no-install-recommends $missing </dev/null
}
# The lists may be old or absent: fetch them only if the first try says so.
install || { apt-get update -q && install; }
