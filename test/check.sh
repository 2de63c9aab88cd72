#!/usr/bin/env bash
#
# check.sh
#	  Builds the extension in a sandbox and runs its tests there (make check)
#
# There are three kinds: pg_regress scripts (sql/*.sql), isolation specs
# (test/specs/*.spec), both against one temporary cluster that does not preload
# the extension, and TAP tests (test/t/*.pl), which start servers as they like.
# A part that fails does not keep the others from running.
#
# Environment:
#
#	PG_CONFIG		the PostgreSQL to test with; by default what is installed
#	TESTS			run these only: file names, also with wildcards, such as
#					"sql/outbox.sql test/t/00*"
#	TEST_TIMEOUT	seconds that may be taken by one TAP file, by all pg_regress
#					scripts, and by all isolation specs (900)
#	KEEP=1			keep the sandbox, to look into it
#
# The last line is "N passed, N failed".  It counts pg_regress scripts,
# isolation specs and assertions of TAP tests.
#
# TAP tests run in the copy of the source tree, after the build.  They find
# PostgreSQL's programs in PATH, and in the environment:
#
#	WHATSAPP_FRONT		the copy of examples/express, with its modules
#	WHATSAPP_SHARED		a folder with corpus/ in it, or unset
#	PG_REGRESS, PERL5LIB, TESTDIR, TESTDATADIR, TESTLOGDIR
#						what PostgreSQL::Test needs

# shellcheck source=test/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

passed=0
failed=0

# Names of the tests to run; kinds without any are not run
regress=()
isolation=()
tap=()

# -- Choosing ------------------------------------------------------------------

# Fill in the lists of tests
choose_tests()
{
	local file

	while IFS= read -r file; do
		case $file in
			sql/*) regress+=("$(basename "$file" .sql)") ;;
			test/specs/*) isolation+=("$(basename "$file" .spec)") ;;
			test/t/*) tap+=("$file") ;;
		esac
	done < <(chosen_files)
	[ "$((${#regress[@]} + ${#isolation[@]} + ${#tap[@]}))" -gt 0 ] ||
		die "There are no tests${TESTS:+ called $TESTS}."
}

chosen_files()
{
	local pattern

	cd "$SOURCE_DIR"
	# without quotes, so that wildcards are expanded
	for pattern in ${TESTS:-sql/*.sql test/specs/*.spec test/t/*.pl}; do
		if [ -f "$pattern" ]; then
			printf '%s\n' "${pattern#./}"
		elif [ -n "${TESTS:-}" ]; then
			note "$pattern: there is no such test"
		fi
	done
}

# -- Counting and telling ------------------------------------------------------

# Print how many lines of a file match
count()
{
	grep -cE "$1" "$2" || true
}

# Add to the totals what a part reports.  One that fails without telling which
# test did is a failure too.
add_up()
{
	local ok=$1 not_ok=$2 status=$3

	if [ "$status" -ne 0 ] && [ "$not_ok" -eq 0 ]; then
		not_ok=1
	fi
	passed=$((passed + ok))
	failed=$((failed + not_ok))
	[ "$not_ok" -eq 0 ]
}

# Show the part of a file that may tell what went wrong: "head" or "tail", so
# many lines
show()
{
	local part=$1 lines=$2 file=$3

	[ -s "$file" ] || return 0
	printf -- '---- %s of %s:\n' "$part" "${file#"$SANDBOX/"}"
	"$part" -n "$lines" "$file"
	printf -- '----\n'
}

# Run a command in the sandbox for as long as a test may take
bounded()
{
	local status=0

	sandbox_as_user timeout --kill-after=10 "${TEST_TIMEOUT:-900}" "$@" </dev/null ||
		status=$?
	[ "$status" -ne 124 ] || echo "Took too long: $*"
	return "$status"
}

# -- pg_regress and isolation --------------------------------------------------

# Run "make installcheck" for one of the two kinds.  Of its output, which goes
# to a file, show what is not the same every time.
installcheck()
{
	local log=$SANDBOX_LOG/$1.log status=0 out filter
	local noise='SET|(CREATE|DROP|ALTER) [A-Z]+|(# )?(=+.*|\+\+\+ .*|\(?using .*)|make: .*|'

	shift
	exec {out}> >(tee "$log" | grep --line-buffered -vxE "$noise")
	filter=$!
	bounded make -s --no-print-directory "PG_CONFIG=$SANDBOX_PG_CONFIG" \
		with_llvm=no installcheck "$@" >&"$out" 2>&1 || status=$?
	exec {out}>&-
	wait "$filter" || true
	return "$status"
}

# Count pg_regress's results; those of PostgreSQL 15 look different from later
# ones
count_regress()
{
	local log=$SANDBOX_LOG/$1.log

	add_up "$(count '^(test|    ) .*\.\.\. ok\b|^ok [0-9]+ ' "$log")" \
		"$(count '^(test|    ) .*\.\.\. FAILED\b|^not ok [0-9]+ ' "$log")" "$2"
}

run_regress()
{
	local status=0

	[ "${#regress[@]}" -gt 0 ] || return 0
	installcheck regress "REGRESS=${regress[*]}" ISOLATION= || status=$?
	count_regress regress "$status" || show head 150 "$SANDBOX_SRC/regression.diffs"
}

run_isolation()
{
	local status=0

	[ "${#isolation[@]}" -gt 0 ] || return 0
	installcheck isolation REGRESS= "ISOLATION=${isolation[*]}" || status=$?
	count_regress isolation "$status" ||
		show head 150 "$SANDBOX_SRC/output_iso/regression.diffs"
}

# Both kinds want a server that knows nothing of the extension
run_sql_tests()
{
	[ "$((${#regress[@]} + ${#isolation[@]}))" -gt 0 ] || return 0
	if ! sandbox_start_cluster plain 'fsync = off' "timezone = 'UTC'"; then
		note "The server for pg_regress did not start."
		failed=$((failed + ${#regress[@]} + ${#isolation[@]}))
		return
	fi
	run_regress
	run_isolation
	sandbox_stop_cluster plain || true
	! grep -qE 'PANIC:|TRAP:|terminated by signal' "$SANDBOX_LOG/plain.log" ||
		show tail 60 "$SANDBOX_LOG/plain.log"
}

# -- TAP -----------------------------------------------------------------------

# Run one file, and end whatever it leaves running
run_tap_file()
{
	local file=$1 name log start status=0 ok not_ok

	name=$(basename "$file" .pl)
	log=$SANDBOX_LOG/$name.log
	start=$SECONDS
	printf '%-40s ' "$file"
	bounded prove -v "$file" >"$log" 2>&1 || status=$?

	# skipped tests and those that are known to fail (TODO) do not count
	ok=$(sed -E '/# (skip|SKIP|TODO)/d' "$log" | count '^ok [0-9]+' -)
	not_ok=$(sed '/# TODO/d' "$log" | count '^not ok [0-9]+' -)
	if add_up "$ok" "$not_ok" "$status"; then
		printf '%4d passed %6d s %s\n' "$ok" "$((SECONDS - start))" \
			"$(grep -m 1 -o 'skipped: .*' "$log" || true)"
	else
		printf '%4d passed, %d failed\n' "$ok" "$((not_ok > 0 ? not_ok : 1))"
		show tail 30 "$SANDBOX_SRC/tmp_check/log/regress_log_$name"
		show tail 60 "$log"
	fi
	if [ -n "$(sandbox_processes)" ]; then
		echo "$file left processes running"
		sandbox_end_processes
	fi
}

run_tap_tests()
{
	local file

	[ "${#tap[@]}" -gt 0 ] || return 0
	sandbox_test_environment
	for file in "${tap[@]}"; do
		run_tap_file "$file"
	done
}

# -- Everything ----------------------------------------------------------------

summary()
{
	echo
	[ "$((passed + failed))" -gt 0 ] || failed=1
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

main()
{
	choose_tests
	sandbox_create
	echo "Building with $("$SANDBOX_PG_CONFIG" --version)"
	if ! sandbox_build; then
		echo "The extension could not be built."
		failed=1
		summary
		return
	fi
	sandbox_front_modules || failed=$((failed + 1))
	run_sql_tests
	run_tap_tests
	summary
}

main
