#!/usr/bin/env bash
#
# chroots.sh
#	  Runs "make check" here and with other versions of PostgreSQL
#	  (make check-all)
#
# The other versions are those of other Debian releases.  Each has a chroot,
# made by debootstrap from this machine's own Debian mirror and kept for the
# next time; remove its folder to get a new one.  Beside its own PostgreSQL, each
# gets the oldest that the extension supports, for pg_upgrade to begin with.  This
# needs root.
#
# Environment:
#
#	SUITES		what to run: "here", or a Debian release ("here trixie sid")
#	CHROOTS		where the chroots are kept (/var/cache/whatsapp/chroots)
#	TESTS		which tests to run; see check.sh
#
# What runs in a chroot has namespaces of its own for mounts, processes and
# shared memory.  When it ends or is interrupted, the kernel unmounts, kills and
# frees all that is left.
#
# The last line is "N passed, N failed", over all suites.

# shellcheck source=test/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

CHROOTS=${CHROOTS:-/var/cache/whatsapp/chroots}
SUITES=${SUITES:-here trixie sid}

# Written into a chroot when debootstrap has succeeded
STAMP=.whatsapp-complete

# The Debian release that has the oldest PostgreSQL we support, and what is
# written into a chroot when it has that, too
OLDER_SUITE=bookworm
OLDER_STAMP=.whatsapp-postgresql-$OLDEST_MAJOR

MIRROR=
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

work=				# a folder for our notes
running=			# process that we wait for
stop_by=			# signal that ends it
chroot=				# the chroot it runs in
passed=0
failed=0

# -- Being interrupted ---------------------------------------------------------

# Runs when we end, for whatever reason
clean_up()
{
	trap '' INT TERM HUP
	if [ -n "$running" ]; then
		kill "-$stop_by" "$running" 2>/dev/null || true
		wait "$running" 2>/dev/null || true
	fi
	clean_chroot
	rm -rf "$work"
}

# Remove what a run has put into the chroot.  When it was killed, the last of
# its processes may still be about to go.
clean_chroot()
{
	local tries

	[ -n "$chroot" ] || return 0
	for tries in 1 2 3; do
		! rm -rf "$chroot/whatsapp" "$chroot"/tmp/whatsapp.* || break
		sleep "$tries"
	done
	chroot=
}

# Run a command and wait for it in a way that a signal interrupts.  The first
# argument is the signal that the command is then ended by.
wait_for()
{
	local status=0

	stop_by=$1
	shift
	setsid "$@" </dev/null &
	running=$!
	wait "$running" || status=$?
	running=
	return "$status"
}

# Run a command in namespaces of its own
isolated()
{
	wait_for KILL unshare --mount --pid --ipc --fork --kill-child "$@"
}

# -- This machine's mirror -----------------------------------------------------

# Set MIRROR to where this machine gets Debian from; leave it empty if it is no
# Debian, and debootstrap uses its own
find_mirror()
{
	local signed_by

	MIRROR=$(print_mirror)
	if [ -z "$MIRROR" ] && grep -qx 'ID=debian' /etc/os-release; then
		run_apt_get update
		MIRROR=$(print_mirror)
	fi
	[ -n "$MIRROR" ] || return 0
	signed_by=$(print_keyring)
	[ ! -r "$signed_by" ] || KEYRING=$signed_by
}

# apt knows, whatever the format of its sources
print_mirror()
{
	# shellcheck disable=SC2016	# apt replaces these
	apt-get indextargets 'Identifier: Packages' \
		--format '$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)' 2>/dev/null |
		awk '$2 == "Debian" && $3 == "Debian" && $4 == "main" { print $1; exit }'
}

# Print the file of keys that the sources name for the mirror.  They have two
# formats: paragraphs, and lines.
print_keyring()
{
	{
		awk -v RS= -v mirror="${MIRROR%/}" 'index($0, mirror)' \
			/etc/apt/sources.list.d/*.sources
		grep -hF "${MIRROR%/}" /etc/apt/sources.list /etc/apt/sources.list.d/*.list
	} 2>/dev/null | sed -nE 's/.*[Ss]igned-[Bb]y(: *|=)(\/[^] ]+).*/\2/p' | head -n 1
}

# Is there all that making a chroot takes?
need_tools()
{
	local -a packages=()

	have debootstrap || packages+=(debootstrap)
	[ -r "$KEYRING" ] || packages+=(debian-archive-keyring)
	[ "${#packages[@]}" -gt 0 ] || return 0
	note "Installing ${packages[*]}"
	run_apt_get update
	run_apt_get install --no-install-recommends "${packages[@]}"
}

# What apt here does to get through to the mirror, apt there must do too
print_apt_settings()
{
	apt-config dump |
		grep -iE '^Acquire::(https?::.*(Proxy|CaInfo|CaPath|Verify)|Check-|Retries)' || true
}

# Print the proxy that apt uses, for debootstrap, which does not ask apt
print_proxy()
{
	local APT_PROXY=

	eval "$(apt-config shell APT_PROXY Acquire::http::Proxy)"
	printf '%s\n' "${APT_PROXY:-${http_proxy:-}}"
}

# -- Chroots -------------------------------------------------------------------

# Make a chroot unless there is one
make_chroot()
{
	local suite=$1 dir=$CHROOTS/$1 proxy start=$SECONDS
	local -a script=()

	[ ! -e "$dir/$STAMP" ] || return 0
	need_tools
	find_mirror
	proxy=$(print_proxy)
	[ -e "/usr/share/debootstrap/scripts/$suite" ] ||
		script=(/usr/share/debootstrap/scripts/sid)

	echo "Making a chroot with Debian $suite in $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	isolated env ${proxy:+"http_proxy=$proxy"} debootstrap --variant=minbase \
		--include=make,ca-certificates --keyring="$KEYRING" \
		"$suite" "$dir" ${MIRROR:+"$MIRROR"} "${script[@]}" >"$work/debootstrap" 2>&1 || {
		tail -n 20 "$work/debootstrap"
		return 1
	}
	configure_chroot "$dir"
	touch "$dir/$STAMP"
	echo "Made in $((SECONDS - start)) s"
}

# Settings that do not change from run to run
configure_chroot()
{
	local dir=$1

	print_apt_settings >"$dir/etc/apt/apt.conf.d/99host"
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod 755 "$dir/usr/sbin/policy-rc.d"
}

# Put into the chroot what it needs of this machine, and the source tree
fill_chroot()
{
	local dir=$1 file

	for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
		[ ! -r "$file" ] || cp -L "$file" "$dir$file"
	done
	rm -rf "$dir/whatsapp" "$dir"/tmp/whatsapp.*
	mkdir -p "$dir/whatsapp/main"
	sandbox_copy_tree "$SOURCE_DIR" "$dir/whatsapp/main"
	sandbox_copy_corpus "$SOURCE_DIR" "$dir/whatsapp"
}

# Let apt there know the older release, for packages that no other has
add_older_suite()
{
	local dir=$1 keys mirror

	need_tools
	find_mirror
	keys=/etc/apt/keyrings/whatsapp-${KEYRING##*/}
	mirror=${MIRROR:-$(awk '$1 == "deb" { print $2; exit }' "$dir/etc/apt/sources.list")}
	mkdir -p "$dir/etc/apt/keyrings"
	cp -L "$KEYRING" "$dir$keys"
	chmod 644 "$dir$keys"
	printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" "$OLDER_SUITE" \
		>"$dir/etc/apt/sources.list.d/whatsapp-older.list"
	printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$OLDER_SUITE" \
		>"$dir/etc/apt/preferences.d/whatsapp-older"
}

# Install the older PostgreSQL unless it is there, after the chroot's own, which
# would otherwise not be asked for.  Releases move on, and one day it will not go
# into the newest of them; then there are tests that cannot be run there.
add_older_postgresql()
{
	local suite=$1 dir=$2 start=$SECONDS

	if [ -e "$dir/$OLDER_STAMP" ] || [ "$suite" = "$OLDER_SUITE" ]; then
		return 0
	fi
	echo "Adding PostgreSQL $OLDEST_MAJOR of Debian $OLDER_SUITE to $dir"
	add_older_suite "$dir"
	in_chroot "$dir" bash -c "cd /whatsapp/main && test/setup.sh &&
		PG_CONFIG=/usr/lib/postgresql/$OLDEST_MAJOR/bin/pg_config test/setup.sh" \
		>"$work/older" 2>&1 || {
		tail -n 20 "$work/older"
		echo "PostgreSQL $OLDEST_MAJOR could not be added; pg_upgrade is NOT tested with $suite."
		return 0
	}
	touch "$dir/$OLDER_STAMP"
	echo "Added in $((SECONDS - start)) s"
}

# Run in the namespaces: mount what programs expect, then enter
enter_chroot()
{
	local dir=$1

	shift
	mount -t proc proc "$dir/proc"
	mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$dir/dev/pts"

	# not exec: as the first process, we inherit orphans and should wait for them
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		TERM="${TERM:-dumb}" ${TESTS:+"TESTS=$TESTS"} \
		${TEST_TIMEOUT:+"TEST_TIMEOUT=$TEST_TIMEOUT"} chroot "$dir" "$@"
}

# Run a command in a chroot
in_chroot()
{
	isolated bash -c ". '${BASH_SOURCE[0]}'; enter_chroot \"\$@\"" bash "$@"
}

check_in_chroot()
{
	local suite=$1 lock

	mkdir -p "$CHROOTS"
	exec {lock}>"$CHROOTS/$suite.lock"
	flock --nonblock "$lock" || {
		echo "Waiting for another run that uses $CHROOTS/$suite"
		wait_for TERM flock "$lock"
	}
	chroot=$CHROOTS/$suite
	make_chroot "$suite" || return 1
	fill_chroot "$chroot" || return 1
	add_older_postgresql "$suite" "$chroot" || return 1
	in_chroot "$chroot" make -C /whatsapp/main --no-print-directory check
}

# -- Suites --------------------------------------------------------------------

# Run one suite and add up what it says
run_suite()
{
	local suite=$1 status=0 start=$SECONDS out copier result version

	echo "== $suite"
	exec {out}> >(tee "$work/$suite")
	copier=$!
	if [ "$suite" = here ]; then
		wait_for TERM bash "$SOURCE_DIR/test/check.sh" >&"$out" 2>&1 || status=$?
	else
		check_in_chroot "$suite" >&"$out" 2>&1 || status=$?
		clean_chroot
	fi
	exec {out}>&-
	wait "$copier" || true

	result=$(grep -xE '[0-9]+ passed, [0-9]+ failed' "$work/$suite" | tail -n 1) ||
		result='0 passed, 0 failed'
	[[ $result =~ ^([0-9]+)\ passed,\ ([0-9]+) ]]
	if [ "$status" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then
		result="${BASH_REMATCH[1]} passed, 1 failed"
		[[ $result =~ ^([0-9]+)\ passed,\ ([0-9]+) ]]
	fi
	passed=$((passed + BASH_REMATCH[1]))
	failed=$((failed + BASH_REMATCH[2]))
	version=$(sed -n 's/^Building with \(PostgreSQL [^ ]*\).*/\1/p' "$work/$suite")
	printf '%-10s %-20s %-25s %5d s\n' "$suite" "$version" "$result" \
		"$((SECONDS - start))" >>"$work/summary"
	echo
}

main()
{
	local suite

	[ "$(id -u)" -eq 0 ] ||
		die "This makes chroots, which takes root.  As another user, run \"make check\"."
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	work=$(mktemp -d)

	for suite in $SUITES; do
		run_suite "$suite"
	done
	cat "$work/summary"
	echo
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

[ "${BASH_SOURCE[0]}" != "$0" ] || main
