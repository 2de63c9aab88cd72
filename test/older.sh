#!/usr/bin/env bash
#
# older.sh
#	  Installs the extension for an older PostgreSQL of this machine, into a copy
#	  of that
#
#	test/older.sh MAJOR FOLDER
#
# It takes the oldest one that the extension supports, that is older than MAJOR,
# and that extensions can be built for.  Its copy and the source tree's go into
# the folder, which must not be there.  Printed is where its programs are then;
# nothing, if there is no such PostgreSQL.
#
# This is for TAP tests, which run in a sandbox already; see sandbox.sh.

# shellcheck source=test/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

# Set PG_CONFIG to that of the oldest; leave it empty if there is none
find_older()
{
	local newest=$1 candidate major

	PG_CONFIG=
	for candidate in $(debian_pg_configs); do
		if major=$(pg_major "$candidate") && [ "$major" -ge "$OLDEST_MAJOR" ] &&
			[ "$major" -lt "$newest" ] && pg_is_complete "$candidate"
		then
			PG_CONFIG=$candidate
		fi
	done
}

main()
{
	find_older "$1"
	[ -n "$PG_CONFIG" ] || return 0
	SANDBOX=$2
	mkdir -p "$SANDBOX/src"
	sandbox_copy_postgresql
	sandbox_copy_tree "$SOURCE_DIR" "$SANDBOX/src"
	make -s --no-print-directory -C "$SANDBOX/src" -j "$(nproc)" \
		"PG_CONFIG=$SANDBOX_PG_CONFIG" with_llvm=no all >&2
	make -s --no-print-directory -C "$SANDBOX/src" \
		"PG_CONFIG=$SANDBOX_PG_CONFIG" with_llvm=no install >&2
	printf '%s\n' "$SANDBOX_BINDIR"
}

main "$@"
