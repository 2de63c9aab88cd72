#!/usr/bin/env bash
#
# sandbox.sh
#	  A place of our own to build, install and run the extension in, which
#	  leaves no trace
#
# A sandbox is a temporary folder with a copy of the source tree and a copy of
# the PostgreSQL installation.  PostgreSQL finds its files relative to its
# programs, so the copy is an installation of its own: "make install" puts the
# extension into it, and neither the PostgreSQL of the machine nor any cluster
# of it is touched.  Everything runs as an unprivileged user if we are root,
# with an environment of its own.
#
# This file is to be sourced.  A script that uses it goes like this:
#
#	. test/sandbox.sh
#	sandbox_create							make the folder; it goes at the end
#	sandbox_build							compile and install the extension
#	sandbox_front_modules					get the modules of examples/express
#	sandbox_start_cluster demo "shared_preload_libraries = 'whatsapp'"
#	sandbox_as_user psql -c '...'			run a command and wait for it
#	sandbox_in_background LOG node ...		run a command in the background
#
# However the script ends (Ctrl-C, SIGTERM and errors included), all processes
# of the sandbox are ended and the folder is removed; with KEEP=1 in the
# environment, the folder stays.
#
# A process belongs to the sandbox if WHATSAPP_SANDBOX in its environment, its
# program or its working directory says so.  PostgreSQL's processes overwrite
# their environment, but their program is in the folder.

# shellcheck source=test/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# The source tree that this file is in
SOURCE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

SANDBOX=				# the folder
SANDBOX_SRC=			# copy of the source tree
SANDBOX_LOG=			# what our commands say
SANDBOX_PG_CONFIG=		# pg_config of the copied PostgreSQL
SANDBOX_BINDIR=			# its programs
SANDBOX_PGXS=			# its lib/pgxs/src
SANDBOX_ENV=()			# environment of everything that runs in the sandbox
SANDBOX_STDERR=			# our standard error
SANDBOX_CLUSTERS=()		# clusters that were started

# -- Making and removing -------------------------------------------------------

# Make the sandbox.  What the machine lacks is installed first; for what, is up
# to the arguments, see setup.sh.
sandbox_create()
{
	exec {SANDBOX_STDERR}>&2
	trap sandbox_destroy EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	trap 'exit 141' PIPE

	setup_machine "$@"
	sandbox_make_folder
	sandbox_copy_tree "$SOURCE_DIR" "$SANDBOX_SRC"
	sandbox_copy_corpus "$SOURCE_DIR" "$SANDBOX"
	sandbox_copy_postgresql
	sandbox_set_environment
	[ "${#AS_TESTER[@]}" -eq 0 ] ||
		chown -Rh "$TESTER:$(id -gn "$TESTER")" "$SANDBOX"
}

# The folder's name must be short, because names of Unix sockets must be; the
# tester must be able to enter it and to run programs that are in it
sandbox_make_folder()
{
	local base

	for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
		[ "${#base}" -le 40 ] || continue
		SANDBOX=$(mktemp -d "$base/whatsapp.XXXXXX" 2>/dev/null) || continue
		if sandbox_folder_is_usable; then
			SANDBOX_SRC=$SANDBOX/src
			SANDBOX_LOG=$SANDBOX/log
			mkdir "$SANDBOX_SRC" "$SANDBOX_LOG" "$SANDBOX/home" \
				"$SANDBOX/tmp" "$SANDBOX/run"
			return
		fi
		rm -rf "$SANDBOX"
		SANDBOX=
	done
	die "No temporary folder can be used.  Set TMPDIR to one with a short name" \
		"that everybody may enter, on a file system not mounted noexec."
}

sandbox_folder_is_usable()
{
	SANDBOX=$(cd "$SANDBOX" && pwd -P)
	printf '#!/bin/sh\n' >"$SANDBOX/probe"
	chmod 755 "$SANDBOX/probe"
	[ "${#AS_TESTER[@]}" -eq 0 ] || chown "$TESTER" "$SANDBOX"
	"${AS_TESTER[@]}" "$SANDBOX/probe" 2>/dev/null || return 1
	rm "$SANDBOX/probe"
}

# Runs when the script ends, for whatever reason
sandbox_destroy()
{
	trap '' INT TERM HUP PIPE
	[ -n "$SANDBOX" ] || return 0
	# perhaps we were interrupted where output goes to a file
	exec 2>&"$SANDBOX_STDERR"
	sandbox_end_processes
	if [ "${KEEP:-0}" != 0 ]; then
		note "Kept $SANDBOX"
	else
		rm -rf "$SANDBOX"
	fi
	SANDBOX=
}

# -- What is copied ------------------------------------------------------------

# Copy a source tree without what was built in it
sandbox_copy_tree()
{
	local from=$1 to=$2

	sandbox_print_files "$from" |
		(cd "$from" && xargs -0 cp --parents --no-dereference \
			--preserve=mode,timestamps,links --target-directory="$to")
}

# Print the files of a source tree, NUL-terminated: what git knows or would
# add, or if git cannot tell, everything that does not look built
sandbox_print_files()
(
	cd "$1"
	# the folder may belong to somebody else, which git takes for dangerous
	export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
	if have git &&
		[ -n "$(git ls-files --cached --others --exclude-standard Makefile 2>/dev/null)" ]
	then
		git ls-files -z --cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				# git also knows files that have been removed
				if [ -e "$file" ] || [ -L "$file" ]; then
					printf '%s\0' "$file"
				fi
			done
	else
		find . \( -name .git -o -name node_modules -o -name tmp_check \
			-o -name results -o -name output_iso \) -prune -o \
			\( -type f -o -type l \) ! -name '*.o' ! -name '*.so' ! -name '*.bc' \
			-print0
	fi
)

# A folder ../shared/corpus beside the source tree holds more webhooks to test
# with.  It need not be there.
sandbox_copy_corpus()
{
	local from=$1/../shared/corpus to=$2/shared

	[ -r "$from" ] || return 0
	mkdir -p "$to"
	cp -R --preserve=timestamps "$from" "$to/corpus"
	chmod -R u+w "$to"
}

# Copy the PostgreSQL installation, each folder to where it was, but below
# $SANDBOX/root.  Bitcode, manuals and translations are left out.
sandbox_copy_postgresql()
{
	local root=$SANDBOX/root what

	for what in bindir pkglibdir sharedir; do
		sandbox_copy_folder "$("$PG_CONFIG" "--$what")" "$root"
	done
	for what in includedir includedir-server; do
		sandbox_link_folder "$("$PG_CONFIG" "--$what")" "$root"
	done
	sandbox_copy_libpq "$("$PG_CONFIG" --libdir)" "$root"

	SANDBOX_BINDIR=$root$("$PG_CONFIG" --bindir)
	SANDBOX_PG_CONFIG=$SANDBOX_BINDIR/pg_config
	SANDBOX_PGXS=$root$("$PG_CONFIG" --pgxs)
	SANDBOX_PGXS=${SANDBOX_PGXS%/makefiles/pgxs.mk}

	for what in bindir pkglibdir sharedir; do
		[ "$("$SANDBOX_PG_CONFIG" "--$what")" = "$root$("$PG_CONFIG" "--$what")" ] ||
			die "A copy of the PostgreSQL of $PG_CONFIG does not find its own files." \
				"$("$SANDBOX_PG_CONFIG" "--$what") is not below $root."
	done
}

# Where programs share a folder with others (/usr/bin), take PostgreSQL's only
sandbox_copy_folder()
{
	local from=$1 to=$2$1
	local -a which=(! -name bitcode ! -name man ! -name doc ! -name locale)

	if [ -x "$from/postgres" ]; then
		which=(\( -name postgres -o -name postmaster -o -name initdb -o -name psql
			   -o -name 'pg_*' -o -name pgbench -o -name '*db' -o -name '*user' \))
	fi
	mkdir -p "$to"
	find "$from" -mindepth 1 -maxdepth 1 "${which[@]}" \
		-exec cp -a --reflink=auto -t "$to" {} +
}

# The headers need not be copied, unless the tester cannot get at them
sandbox_link_folder()
{
	local from=$1 to=$2$1

	if [ ! -d "$from" ] || [ -e "$to" ]; then
		return
	fi
	mkdir -p "${to%/*}"
	if "${AS_TESTER[@]}" test -x "$from"; then
		ln -s "$from" "$to"
	else
		cp -a "$from" "$to"
	fi
}

# A PostgreSQL that was built from source brings its own libpq, which is to be
# found even if the tester may not enter the folder that it is in
sandbox_copy_libpq()
{
	local from=$1 to=$2$1

	case $from in
		/usr/lib*|/lib*) return ;;
	esac
	[ -e "$from/libpq.so" ] || return 0
	mkdir -p "$to"
	cp -a "$from"/libpq.so* "$to"
	SANDBOX_ENV+=("LD_LIBRARY_PATH=$to")
}

# -- Running things ------------------------------------------------------------

# What is in the environment of everything that runs in the sandbox: nothing of
# ours, but for what npm needs to get through to its registry
sandbox_set_environment()
{
	local name

	SANDBOX_ENV+=(
		"WHATSAPP_SANDBOX=$SANDBOX"
		"PATH=$SANDBOX_BINDIR:${NODE%/*}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
		"HOME=$SANDBOX/home"
		"TMPDIR=$SANDBOX/tmp"
		"LANG=C.UTF-8"
	)
	for name in $(compgen -e); do
		case $name in
			TERM|WHATSAPP_SEED|WHATSAPP_STEPS|SSL_CERT_FILE|SSL_CERT_DIR|NODE_EXTRA_CA_CERTS|npm_config_*|NPM_CONFIG_*|\
			http_proxy|https_proxy|no_proxy|HTTP_PROXY|HTTPS_PROXY|NO_PROXY)
				SANDBOX_ENV+=("$name=${!name}") ;;
		esac
	done
	[ ! -d "$SANDBOX/shared" ] || SANDBOX_ENV+=("WHATSAPP_SHARED=$SANDBOX/shared")
}

# Run a command in the copy of the source tree, and wait for it.  It gets a
# session of its own, so that Ctrl-C reaches us alone; and we wait for it in a
# way that a signal interrupts.
sandbox_as_user()
{
	local status=0

	setsid "${AS_TESTER[@]}" env -i -C "$SANDBOX_SRC" --default-signal=INT,QUIT \
		"${SANDBOX_ENV[@]}" "$@" <&0 {SANDBOX_STDERR}>&- &
	wait "$!" || status=$?
	return "$status"
}

# Run a command in the background, its output going to a file.  $! is its
# process.
sandbox_in_background()
{
	local log=$1

	shift
	setsid "${AS_TESTER[@]}" env -i -C "$SANDBOX_SRC" --default-signal=INT,QUIT \
		"${SANDBOX_ENV[@]}" "$@" </dev/null >"$log" 2>&1 {SANDBOX_STDERR}>&- &
}

# Print a TCP port that nobody listens on
sandbox_free_port()
{
	perl -MIO::Socket::INET -e \
		'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport, "\n"'
}

# Print the processes of the sandbox
sandbox_processes()
{
	{
		grep -lszxF "WHATSAPP_SANDBOX=$SANDBOX" /proc/[0-9]*/environ || true
		find /proc -maxdepth 2 \( -name exe -o -name cwd \) -lname "$SANDBOX*" || true
	} 2>/dev/null | cut -d / -f 3 | sort -nu | grep -vx "$$" || true
}

# Print the program that a process runs; nothing if it has gone
sandbox_program()
{
	local program

	program=$(readlink "/proc/$1/exe") || return 0
	printf '%s\n' "${program% (deleted)}"
}

# Send a signal to processes, or to PostgreSQL's the one for an immediate
# shutdown, by which it gives back its shared memory.
sandbox_signal()
{
	local signal=$1 pid

	shift
	for pid in "$@"; do
		case $signal:$(sandbox_program "$pid") in
			TERM:*/postgres) kill -QUIT "$pid" ;;
			*) kill "-$signal" "$pid" ;;
		esac 2>/dev/null || true
	done
}

# End the processes of the sandbox, after ten seconds by force.  What initdb
# runs does not clean up after any signal; so if there is an initdb, let it
# finish first.
sandbox_end_processes()
{
	local tries pid pids programs

	for tries in {1..150}; do
		mapfile -t pids < <(sandbox_processes)
		[ "${#pids[@]}" -gt 0 ] || return 0
		programs=$(for pid in "${pids[@]}"; do sandbox_program "$pid"; done)
		if [ "$tries" -ge 100 ]; then
			sandbox_signal KILL "${pids[@]}"
		elif ! grep -q '/initdb$' <<<"$programs"; then
			sandbox_signal TERM "${pids[@]}"
		fi
		sleep 0.1
	done
	note "Some processes do not end: ${pids[*]}"
}

# -- Building and serving ------------------------------------------------------

# Compile, with every warning an error, and install into the sandbox
sandbox_build()
{
	local -a make=(make -s --no-print-directory "PG_CONFIG=$SANDBOX_PG_CONFIG"
				   WERROR=1 with_llvm=no)

	sandbox_as_user "${make[@]}" -j "$(nproc)" all && sandbox_as_user "${make[@]}" install
}

# Give the front in examples/express the modules it needs.  Programs find it
# by WHATSAPP_FRONT.
sandbox_front_modules()
{
	local front=$SANDBOX_SRC/examples/express name value
	local -a settings=()

	[ -f "$front/package.json" ] || return 0
	SANDBOX_ENV+=("WHATSAPP_FRONT=$front")
	if [ "$NODE_MODULES" = debian ]; then
		SANDBOX_ENV+=("NODE_PATH=/usr/share/nodejs")
		return
	fi

	# our user may have configured npm in a file that the tester does not read
	for name in registry cafile; do
		value=$(npm config get "$name" 2>/dev/null) || value=
		case $value in
			''|null|undefined) ;;
			*) settings+=("npm_config_$name=$value") ;;
		esac
	done
	sandbox_as_user env "${settings[@]}" npm --prefix "$front" ci --omit=dev --ignore-scripts \
		--no-audit --no-fund --no-update-notifier --loglevel=error \
		>"$SANDBOX_LOG/npm.log" 2>&1 </dev/null && return
	tail -n 20 "$SANDBOX_LOG/npm.log" >&2
	note "npm could not get the modules of examples/express."
	return 1
}

# Have programs find PostgreSQL::Test, and it where to write.  TESTDIR is for
# version 15.
sandbox_test_environment()
{
	SANDBOX_ENV+=(
		"PERL5LIB=$SANDBOX_PGXS/test/perl:$SANDBOX_SRC/test/perl:$SANDBOX_SRC/bench/perl"
		"PG_REGRESS=$SANDBOX_PGXS/test/regress/pg_regress"
		"TESTDIR=$SANDBOX_SRC"
		"TESTDATADIR=$SANDBOX_SRC/tmp_check"
		"TESTLOGDIR=$SANDBOX_SRC/tmp_check/log"
	)
	sandbox_as_user mkdir -p tmp_check/log
}

# sandbox_start_cluster NAME [LINE...]
#
# Make a cluster with these lines in its postgresql.conf and start it.  It
# listens on a Unix socket only.  What runs in the sandbox from now on connects
# to it, as its superuser postgres, unless told otherwise.
sandbox_start_cluster()
{
	local name=$1 port=$((5432 + ${#SANDBOX_CLUSTERS[@]})) data=$SANDBOX/$1

	shift
	sandbox_as_user initdb -D "$data" -U postgres -A trust -E UTF8 --no-sync \
		>"$SANDBOX_LOG/$name.initdb" 2>&1 || {
		cat "$SANDBOX_LOG/$name.initdb" >&2
		return 1
	}
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$SANDBOX/run'" \
		"port = $port" "$@" >>"$data/postgresql.conf"
	SANDBOX_CLUSTERS+=("$name")
	sandbox_as_user pg_ctl -D "$data" -l "$SANDBOX_LOG/$name.log" -w -s start </dev/null || {
		tail -n 20 "$SANDBOX_LOG/$name.log" >&2
		return 1
	}
	SANDBOX_ENV+=("PGHOST=$SANDBOX/run" "PGPORT=$port" "PGUSER=postgres")
}

sandbox_stop_cluster()
{
	sandbox_as_user pg_ctl -D "$SANDBOX/$1" -m fast -w -s stop
}
