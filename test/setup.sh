#!/usr/bin/env bash
#
# setup.sh
#	  Finds out what this machine lacks to build and test the extension, and
#	  installs it
#
# Root gets what is missing by apt-get.  Anybody else is told the command that
# does it, and nothing happens.  Where nothing is missing, apt-get is not even
# asked.  Run it by itself to prepare a machine:
#
#	test/setup.sh [style|static|bench]
#
# With "style", what `make indent` and `make check-style` need is looked for
# too; with "static", what `make check-static` needs; with "bench", what `make
# bench` needs.  When this file is sourced instead, setup_machine does the same
# and leaves behind:
#
#	PG_CONFIG		absolute name of the pg_config to build with
#	PG_MAJOR		its major version
#	NODE			absolute name of node
#	NODE_MODULES	how the front in examples/express gets its modules: "npm"
#					(npm ci) or "debian" (packages, in /usr/share/nodejs)
#	AS_TESTER		words that go in front of a command so that it runs as an
#					unprivileged user; empty unless we are root

set -euo pipefail

# PostgreSQL versions that the extension supports begin here
OLDEST_MAJOR=15

# PostgreSQL's server does not run as root, and tests should not either
TESTER=nobody
AS_TESTER=()
if [ "$(id -u)" -eq 0 ]; then
	AS_TESTER=(setpriv --reuid="$TESTER" --regid="$(id -gn "$TESTER")"
			   --clear-groups --)
fi

PG_MAJOR=
NODE=
NODE_MODULES=

# Names of the packages to install, found by find_missing
MISSING=()

# Say what we are doing
note()
{
	printf '%s\n' "$*" >&2
}

# Say why we cannot go on, and end
die()
{
	printf 'ERROR: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '       %s\n' "$@" >&2
	exit 1
}

have()
{
	command -v "$1" >/dev/null 2>&1
}

# Add packages to those that are missing
lack()
{
	MISSING+=("$@")
}

# -- PostgreSQL ----------------------------------------------------------------

# Print the major version of the PostgreSQL that a pg_config belongs to
pg_major()
{
	local version

	version=$("$1" --version 2>/dev/null) || return 1
	[[ $version =~ ^PostgreSQL\ ([0-9]+) ]] || return 1
	printf '%s\n' "${BASH_REMATCH[1]}"
}

# Are server, headers, and what PostgreSQL brings for testing all there?
pg_is_complete()
{
	local bindir pgxs src

	bindir=$("$1" --bindir 2>/dev/null) || return 1
	pgxs=$("$1" --pgxs 2>/dev/null) || return 1
	src=${pgxs%/makefiles/pgxs.mk}

	[ -x "$bindir/pg_config" ] &&
		[ -x "$bindir/postgres" ] &&
		[ -x "$bindir/initdb" ] &&
		[ -x "$bindir/psql" ] &&
		[ -f "$pgxs" ] &&
		[ -f "$("$1" --includedir-server)/postgres.h" ] &&
		[ -x "$src/test/regress/pg_regress" ] &&
		[ -x "$src/test/isolation/pg_isolation_regress" ] &&
		[ -f "$src/test/perl/PostgreSQL/Test/Cluster.pm" ]
}

# Use this one.  Debian's /usr/bin/pg_config is a script that picks one; we
# want the picked one itself.
use_pg_config()
{
	PG_MAJOR=$(pg_major "$1")
	PG_CONFIG=$("$1" --bindir)/pg_config
	[ "$PG_MAJOR" -ge "$OLDEST_MAJOR" ] ||
		die "$PG_CONFIG is of PostgreSQL $PG_MAJOR; this needs $OLDEST_MAJOR or later."
}

# PG_CONFIG was given: that version and no other
find_given_postgresql()
{
	local bindir

	if pg_is_complete "$PG_CONFIG"; then
		use_pg_config "$PG_CONFIG"
		return
	fi

	# Debian's layout tells the names of the packages
	bindir=$("$PG_CONFIG" --bindir 2>/dev/null) || bindir=${PG_CONFIG%/*}
	if [[ $bindir =~ ^/usr/lib/postgresql/([0-9]+)/bin$ ]]; then
		PG_CONFIG=$bindir/pg_config
		lack_postgresql "${BASH_REMATCH[1]}"
		return
	fi

	have "$PG_CONFIG" ||
		die "PG_CONFIG=$PG_CONFIG: there is no such program."
	die "The PostgreSQL of PG_CONFIG=$PG_CONFIG is not complete." \
		"Needed are the server, the headers, pg_regress, pg_isolation_regress and the" \
		"Perl modules PostgreSQL::Test (configure --enable-tap-tests)."
}

# Choose among what is installed: what pg_config in the PATH says, because
# that is what a plain "make" uses, else the newest of Debian's
find_installed_postgresql()
{
	local candidate major

	for candidate in pg_config $(debian_pg_configs); do
		if major=$(pg_major "$candidate") &&
			[ "$major" -ge "$OLDEST_MAJOR" ] && pg_is_complete "$candidate"
		then
			use_pg_config "$candidate"
			return 0
		fi
	done
	return 1
}

# Print where Debian would have pg_config, for servers that are installed,
# newest first
debian_pg_configs()
{
	local server

	for server in /usr/lib/postgresql/*/bin/postgres; do
		[ ! -x "$server" ] || printf '%s\n' "${server%/postgres}/pg_config"
	done | sort -t / -k 5,5nr
}

find_postgresql()
{
	local newest

	if [ -n "${PG_CONFIG:-}" ] && [ "$PG_CONFIG" != pg_config ]; then
		find_given_postgresql
		return
	fi
	! find_installed_postgresql || return 0

	# complete the newest server that is there, or get the distribution's
	newest=$(debian_pg_configs | head -n 1)
	if [[ $newest =~ /([0-9]+)/bin/ && ${BASH_REMATCH[1]} -ge $OLDEST_MAJOR ]]; then
		lack_postgresql "${BASH_REMATCH[1]}"
	else
		lack_postgresql "$(default_major)"
	fi
}

lack_postgresql()
{
	local major=$1

	PG_MAJOR=$major
	if [ -z "$major" ]; then
		# apt has no lists yet; these two mean the default version everywhere
		lack postgresql postgresql-server-dev-all
		return
	fi
	[ "$major" -ge "$OLDEST_MAJOR" ] ||
		die "This distribution's PostgreSQL is $major; this needs $OLDEST_MAJOR or later." \
			"The PostgreSQL project has packages of every version for Debian and Ubuntu;" \
			"set them up as www.postgresql.org/download says, then try again."
	[ -x "/usr/lib/postgresql/$major/bin/postgres" ] ||
		lack "postgresql-$major"
	lack "postgresql-server-dev-$major"
}

# Print the major version that the distribution has by default; nothing if apt
# does not know yet
default_major()
{
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1
}

# -- Node.js -------------------------------------------------------------------

# Print the first program of that name in the PATH that the tester may use
# too; it may be in a home directory that the tester cannot enter
find_program()
{
	local program

	for program in $(type -aP "$1"); do
		if "${AS_TESTER[@]}" test -r "$(readlink -f "$program")" &&
			"${AS_TESTER[@]}" test -x "$program"
		then
			printf '%s\n' "$program"
			return 0
		fi
	done
	return 1
}

find_node()
{
	NODE_MODULES=
	NODE=$(find_program node) || lack nodejs
	if [ -n "$NODE" ] && find_program npm >/dev/null; then
		NODE_MODULES=npm
		return
	fi
	# shellcheck disable=SC2034	# for sandbox.sh
	NODE_MODULES=debian
	[ -d /usr/share/nodejs/express ] || lack node-express
	[ -d /usr/share/nodejs/pg ] || lack node-pg
}

# -- Python, for the front that is written in it ------------------------------

find_python()
{
	[ -x /usr/bin/python3 ] || lack python3
	[ -d /usr/lib/python3/dist-packages/psycopg ] || lack python3-psycopg
	[ -d /usr/lib/python3/dist-packages/psycopg_pool ] || lack python3-psycopg-pool
	[ -d /usr/lib/python3/dist-packages/waitress ] || lack python3-waitress
}

# -- pg_bsd_indent -------------------------------------------------------------

# From PostgreSQL 16 on, it comes with what extensions are built with
find_indent()
{
	! have pg_bsd_indent || return 0
	[ "${PG_MAJOR:-0}" -gt 15 ] || lack pg-bsd-indent
}

# -- What benchmarks measure with ----------------------------------------------

find_bench()
{
	have wrk || lack wrk
	have strace || lack strace
	[ -e /usr/lib/nginx/modules/ngx_http_echo_module.so ] || lack libnginx-mod-http-echo
}

# -- Everything ----------------------------------------------------------------

find_missing()
{
	MISSING=()
	have gcc || lack gcc libc6-dev
	have make || lack make
	have curl-config || pkg-config --exists libcurl 2>/dev/null ||
		lack libcurl4-openssl-dev
	have curl || lack curl
	have prove || lack perl
	perl -MIPC::Run -e 1 2>/dev/null || lack libipc-run-perl
	have openssl || lack openssl
	have nginx || [ -x /usr/sbin/nginx ] || lack nginx
	find_postgresql
	find_node
	find_python
	case ${1:-} in
		style) find_indent ;;
		static) have cppcheck || lack cppcheck ;;
		bench) find_bench ;;
	esac
}

# A new PostgreSQL server package creates a cluster, and it and nginx are
# started.  Nobody asked for that here, so tell Debian not to while a command
# runs.
without_services()
(
	dir=/etc/postgresql-common/createcluster.d
	file=$dir/zz-whatsapp-setup.conf
	policy=/usr/sbin/policy-rc.d
	made=

	trap 'rm -f "$file" $policy; [ -z "$made" ] || rmdir "$dir" 2>/dev/null || true' EXIT
	trap 'exit 130' INT TERM HUP
	[ -d "$dir" ] || made=yes
	mkdir -p "$dir"
	printf 'create_main_cluster = false\n' >"$file"
	if [ -e "$policy" ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	"$@"
	if [[ " $* " = *" nginx "* ]] && have update-rc.d; then
		update-rc.d nginx disable >/dev/null 2>&1 || true
	fi
)

# Run apt-get, quietly unless it fails
run_apt_get()
{
	local output

	output=$(DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o DPkg::Lock::Timeout=300 "$@" 2>&1 </dev/null) || {
		tail -n 30 <<<"$output" >&2
		note "apt-get $* failed."
		return 1
	}
}

# Installing may upgrade a PostgreSQL server, which restarts its clusters.
# That is no business of ours.
refuse_to_restart_clusters()
{
	local majors major

	have pg_lsclusters || return 0
	majors=$(LC_ALL=C apt-get -s install --no-install-recommends "${MISSING[@]}" 2>/dev/null |
		sed -n 's/^Inst postgresql-\([0-9]*\) \[.*/\1/p')
	for major in $majors; do
		if pg_lsclusters -h | awk -v v="$major" '$1 == v && $4 ~ /^online/ { n++ } END { exit !n }'
		then
			die "This would upgrade PostgreSQL $major and restart its running cluster." \
				"When that suits you, run:" "  $(install_command)"
		fi
	done
}

install_command()
{
	printf 'apt-get install -y --no-install-recommends %s' "${MISSING[*]}"
}

# Install what is missing, or say how
install_missing()
{
	have apt-get ||
		die "This machine has no apt-get.  Please install by other means what Debian calls" \
			"${MISSING[*]}"

	if [ "$(id -u)" -ne 0 ]; then
		note "Some packages are missing.  This installs them:"
		note ""
		[[ " ${MISSING[*]} " != *-server-dev-all\ * ]] || note "  sudo apt-get update"
		note "  sudo $(install_command)"
		note ""
		exit 1
	fi

	note "Getting the lists of packages"
	run_apt_get update || die "Without lists of packages, nothing can be installed."
	find_missing "$@"
	refuse_to_restart_clusters
	note "Installing ${MISSING[*]}"
	without_services run_apt_get install --no-install-recommends "${MISSING[@]}" ||
		die "Not everything could be installed."
}

# Make this machine ready to build and test
setup_machine()
{
	find_missing "$@"
	[ "${#MISSING[@]}" -gt 0 ] || return 0
	install_missing "$@"
	hash -r
	find_missing "$@"
	[ "${#MISSING[@]}" -eq 0 ] ||
		die "Still missing after the installation: ${MISSING[*]}"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	setup_machine "$@"
	echo "Nothing is missing: PostgreSQL $PG_MAJOR ($PG_CONFIG), $NODE."
fi
