#!/usr/bin/env bash
#
# run.sh
#	  Builds the extension in a sandbox, measures how fast it is there, and prints
#	  a table of that (make bench)
#
# Each bench/*.pl is a benchmark.  It measures us and, by turns with us in the
# same run, somebody who does the same or a floor that nobody gets below, so
# that a machine that is busy, or slow, is so for both.  What it prints are
# lines that begin with RESULT, for the table, or with POINT, for a plot; see
# bench/perl/Bench.pm.  What is on the way goes to standard error.
#
# Environment:
#
#	PG_CONFIG		the PostgreSQL to measure with; by default what is installed
#	BENCH			run these only, such as "drain latency"
#	QUICK=1			less of everything: all take a few minutes, and tell whether
#					they work rather than how fast anything is
#	OUT				a file for the raw results: lines of the machine, RESULTs and
#					POINTs, tab-separated
#	KEEP=1			keep the sandbox, to look into it
#
# Other variables whose names begin with BENCH_ are the benchmarks' own.  A
# benchmark that fails is a line of the table, and has us end with status 1; a
# goal that is not met does not.

# shellcheck source=test/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/sandbox.sh"

# Not run unless asked for: what they measure is for plots
plots=(filing scaling)

benches=()			# names of the benchmarks to run
results=			# the file of raw results
failed=0

# -- Choosing ------------------------------------------------------------------

choose_benches()
{
	local file name

	for file in "$SOURCE_DIR"/bench/*.pl; do
		name=$(basename "$file" .pl)
		if [ -z "${BENCH:-}" ]; then
			[[ " ${plots[*]} " = *" $name "* ]] || benches+=("$name")
		fi
	done
	for name in ${BENCH:-}; do
		[ -f "$SOURCE_DIR/bench/$name.pl" ] || die "There is no benchmark called $name."
		benches+=("$name")
	done
}

# -- Running -------------------------------------------------------------------

# What is written in C.  Its headers and libraries are those of the extension.
build_programs()
{
	local -a gcc=(gcc -O2 -Wall -Wextra -Werror)
	local curl

	curl=$(curl-config --cflags --libs 2>/dev/null || pkg-config --cflags --libs libcurl)
	# shellcheck disable=SC2086	# it is words
	sandbox_as_user "${gcc[@]}" -o bench/bare bench/bare.c $curl
	sandbox_as_user "${gcc[@]}" -o bench/latency bench/latency.c \
		"-I$("$PG_CONFIG" --includedir)" "-L$("$PG_CONFIG" --libdir)" -lpq
}

bench_environment()
{
	local name

	sandbox_test_environment
	for name in QUICK $(compgen -e BENCH_); do
		SANDBOX_ENV+=("$name=${!name-}")
	done
}

# Run one, and end whatever it leaves running
run_bench()
{
	local name=$1 status=0 start=$SECONDS

	note "-- $name"
	sandbox_as_user perl "bench/$name.pl" </dev/null >>"$results" || status=$?
	[ -z "$(sandbox_processes)" ] || sandbox_end_processes
	note "   $((SECONDS - start)) s"
	[ "$status" -ne 0 ] || return 0
	printf 'RESULT\t%s\tfailed\t\t\t\t\t\t\tno\n' "$name" >>"$results"
	tail -n 30 "$SANDBOX_SRC/tmp_check/log/regress_log_$name" >&2 || true
	failed=1
}

# -- Telling -------------------------------------------------------------------

# What all of it was measured on, in lines of name, tab, value
describe_machine()
{
	printf 'CPU\t%s\n' "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
	printf 'cores\t%s\n' "$(nproc)"
	printf 'memory\t%s GB\n' "$(awk '/^MemTotal/ { print int($2 / 1024 / 1024 + 0.5) }' /proc/meminfo)"
	printf 'PostgreSQL\t%s\n' "$("$SANDBOX_PG_CONFIG" --version | sed 's/^PostgreSQL //')"
	printf 'libcurl\t%s\n' "$(curl-config --version 2>/dev/null | sed 's/^libcurl //' || pkg-config --modversion libcurl)"
	printf 'nginx\t%s\n' "$(PATH=$PATH:/usr/sbin nginx -v 2>&1 | sed 's,^.*/,,')"
	printf 'Node.js\t%s\n' "$("$NODE" --version)"
	printf 'size\t%s\n' "$([ "${QUICK:-0}" = 0 ] && echo full || echo quick)"
}

# The table, of lines: bench, case, beside what, ours, theirs, unit, ratio, goal,
# whether it is met
print_table()
{
	echo
	awk -F '\t' '$1 == "MACHINE" { printf "%-12s%s\n", $2, $3 }' "$results"
	echo
	{
		printf 'bench\tmeasured\tbeside\tours\ttheirs\tunit\tratio\tgoal\tmet\n'
		sed -n 's/^RESULT\t//p' "$results"
	} | awk -F '\t' '
		{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) }; if (NF > columns) columns = NF }
		END {
			for (row = 1; row <= NR; row++) {
				line = ""
				for (i = 1; i <= columns; i++) {
					gap = sprintf("%" (width[i] - length(cell[row, i])) "s", "")
					# numbers stand to the right
					line = line (i == 4 || i == 5 || i == 7 ? gap cell[row, i] : cell[row, i] gap) (i < columns ? "  " : "")
				}
				sub(/ +$/, "", line)
				print line
			}
		}'
}

main()
{
	local name

	choose_benches
	sandbox_create bench
	results=$SANDBOX_LOG/results.tsv
	describe_machine | sed 's/^/MACHINE\t/' >"$results"
	note "Building with $("$SANDBOX_PG_CONFIG" --version)"
	sandbox_build
	build_programs
	sandbox_front_modules
	bench_environment
	for name in "${benches[@]}"; do
		run_bench "$name"
	done
	[ -z "${OUT:-}" ] || cat "$results" >"$OUT"
	print_table
	[ "$failed" -eq 0 ]
}

main
