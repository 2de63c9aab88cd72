#!/usr/bin/env bash
#
# static.sh
#	  Looks for mistakes in the code without running it (make check-static)
#
# The C code is read by two programs, which find different things:
#
#	gcc -fanalyzer	follows what happens along the paths through a file: memory
#					that is used after it was freed or never freed, NULL that is
#					used, variables that were not set
#	cppcheck		compares conditions with each other and with what is done: what
#					is checked for NULL here and not there, is always so, or is
#					beyond the end of an array
#
# The install script, and those for updates, are read by test/static/script.pl;
# what it takes a database to know of them is in sql/catalog.sql.
#
# What is found and is right all the same is in test/static/exceptions, with the
# reason.  A program that finds nothing may not have looked, so there are mistakes
# in test/static/planted.c and planted.sql that have to be found.

# shellcheck source=test/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=				# a folder for what is found
flags=()			# how C code is compiled: where headers are, what is defined

# How PostgreSQL and libcurl are found, as by the Makefile
set_flags()
{
	local curl_cflags

	curl_cflags=$(curl-config --cflags 2>/dev/null || pkg-config --cflags libcurl)
	# shellcheck disable=SC2206	# it is words
	flags=(-Isrc "-I$("$PG_CONFIG" --includedir-server)" $curl_cflags
		   -D_GNU_SOURCE '-DWHATSAPP_VERSION="0"')
}

# Have gcc read one file.  Other arguments go to gcc.
#
# It is told to see the code as it is written.  What it warns of only when it
# optimizes stops the build.  It gives up on a function that has too many ways
# through, and on the rest of the file: four times as many as by default are fine.
gcc_reads()
{
	local file=$1

	shift
	LC_ALL=C gcc -std=gnu99 -O0 -c -o /dev/null -fdiagnostics-plain-output \
		-fanalyzer --param analyzer-bb-explosion-factor=20 \
		-Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
		-Wno-missing-field-initializers "${flags[@]}" "$@" "$file" 2>&1 || true
}

# Have gcc read a file with palloc() and pfree() made known, when what is never
# freed goes with its memory context; and then for what malloc() gives
gcc_reads_twice()
{
	gcc_reads "$1" -include test/static/allocators.h -Wno-analyzer-malloc-leak \
		>"$work/${1//\//_}.palloc"
	! grep -qE '\b(malloc|calloc|realloc|strn?dup)\(' "$1" ||
		gcc_reads "$1" >"$work/${1//\//_}.malloc"
}

run_gcc()
{
	local file

	for file in src/*.c test/static/planted.c; do
		while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do
			wait -n
		done
		gcc_reads_twice "$file" &
	done
	wait
}

# PostgreSQL's headers are read too, or else ereport(ERROR) would seem to return.
# They are told that this is gcc, but not that it can compare types: that is done
# with a NULL, which is then found.
run_cppcheck()
{
	cppcheck -j "$(nproc)" --quiet --std=c99 --enable=warning,style,performance,portability \
		--template='{file}:{line}:{column}: warning: {message} [{id}]' \
		--template-location='{file}:{line}:{column}: note: {info}' \
		--suppress='*:/usr/include/*' --suppress=variableScope --suppress=shadowFunction \
		--suppress=sizeofFunctionCall \
		"${flags[@]}" -D__GNUC__=12 -D__x86_64__=1 -D__LP64__=1 -D__linux__=1 \
		-D__STDC_VERSION__=199901L -DLIBCURL_VERSION_NUM=0x075800 \
		-UHAVE__BUILTIN_TYPES_COMPATIBLE_P \
		src test/static/planted.c >"$work/cppcheck" 2>&1 || true
}

main()
{
	setup_machine static
	set_flags
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' INT TERM HUP

	run_gcc
	run_cppcheck
	perl test/static/script.pl whatsapp--*.sql test/static/planted.sql >"$work/script"
	perl test/static/judge.pl "$work"/*
}

main
