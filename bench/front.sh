#!/usr/bin/env bash
# How many webhooks a second the front in examples/express takes, beside the
# handler of the usual tutorial (tutorial.js), and one that does nothing
# (express.js), with wrk and 64 connections.
#
#	bench/front.sh [SECONDS [ROUNDS]]
#
# The database that the PG* variables name has the extension, a number
# 106540352242922 with app secret "secret", and nothing that is to be kept: its
# tables are emptied.  It needs node with express and pg (NODE_PATH for Debian's),
# and wrk.  Goal: three times as many as the tutorial's, and a lower 99th
# percentile.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:-10}
rounds=${2:-5}
dir=$(mktemp -d)
pids=()
fronts=(ours tutorial express)
declare -A ports
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
export PGOPTIONS='-c client_min_messages=warning'

psql -Xq -v ON_ERROR_STOP=1 -c 'DROP SCHEMA IF EXISTS tutorial CASCADE' -f "$here/tutorial.sql"

# start NAME FILE
start()
{
	: >"$dir/$1.log"
	PORT=0 node "$2" >"$dir/$1.log" 2>&1 &
	pids+=($!)
	until grep -q '^listening on' "$dir/$1.log"; do
		kill -0 "${pids[-1]}" || { cat "$dir/$1.log"; exit 1; }
	done
	ports[$1]=$(sed -n 's/^listening on //p' "$dir/$1.log")
}

# what is still being filed would be locked against what empties the tables
until_idle()
{
	until [ "$(psql -XAtqc "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
		AND backend_type = 'client backend' AND pid <> pg_backend_pid()
		AND (state <> 'idle' OR state_change > clock_timestamp() - interval '200 ms')")" = 0 ]; do :; done
}

# run FRONT ROUND SECONDS: prints front, requests per second, p50, p99, errors
run()
{
	until_idle
	psql -Xq -c 'TRUNCATE whatsapp.messages, whatsapp.correspondents, whatsapp.contact_sightings, whatsapp.webhooks, whatsapp.events,
		tutorial.webhooks, tutorial.contacts, tutorial.messages, tutorial.statuses'
	node "$here/front_requests.js" $(($3 * 10000)) secret "R$2$1" >"$dir/requests"
	wrk -t 1 -c 64 -d "$3s" -s "$here/front.lua" "http://127.0.0.1:${ports[$1]}" -- "$dir/requests" | sed -n "s/^RESULT/$1/p"
}

start ours "$here/../examples/express/server.js"
start tutorial "$here/tutorial.js"
start express "$here/express.js"

# until all is compiled and cached
for front in "${fronts[@]}"; do
	run "$front" 0 2 >/dev/null
done
for round in $(seq "$rounds"); do
	for front in "${fronts[@]}"; do
		run "$front" "$round" "$seconds"
	done
done | tee "$dir/results" | awk '
	BEGIN { printf "%-10s %10s %10s %10s %8s\n", "front", "requests/s", "p50 (ms)", "p99 (ms)", "errors" }
	{ printf "%-10s %10s %10s %10s %8s\n", $1, $2, $3, $4, $5; fflush() }'

# median FRONT COLUMN
median()
{
	awk -v front="$1" -v column="$2" '$1 == front { print $column }' "$dir/results" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

awk -v ours="$(median ours 2)" -v tutorial="$(median tutorial 2)" -v p99="$(median ours 4)" -v tutorial_p99="$(median tutorial 4)" 'BEGIN {
	printf "medians: %d and %d requests/s, %.1f times as many (goal 3): %s\n", ours, tutorial, ours / tutorial, (ours >= 3 * tutorial ? "met" : "not met")
	printf "         99th percentiles %.1f and %.1f ms (goal lower): %s\n", p99, tutorial_p99, (p99 < tutorial_p99 ? "met" : "not met")
}'
