#!/usr/bin/env bash
#
# demo.sh
#	  Shows the extension at work, from an empty database to a conversation
#	  (make demo)
#
# There are a database, the front in examples/express, and the simulator
# test/graph.js in the place of Meta, all in a sandbox.  What is done is what a
# user would do and what Meta would do, each command printed before its result.
#
# Environment:
#
#	PG_CONFIG		the PostgreSQL to show it with; by default what is installed
#	KEEP=1			keep everything running, and say how to get at it; if
#					something goes wrong, keep the folder, to look into it
#
# The exit status is 0 if the message was answered, and the answer was read and
# reacted to.

# shellcheck source=test/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

NUMBER=106540352242922
WABA=102290129340398
DISPLAY_NUMBER=15550783881
PERSON=16505551234
ACCESS_TOKEN=demo-access-token
APP_SECRET=demo-app-secret
VERIFY_TOKEN=demo-verify-token
CHALLENGE=1158201444

FRONT_ROLE=whatsapp_front
FRONT_LOG=			# what the programs say, and their processes
FRONT_PID=
GRAPH_LOG=
GRAPH_PID=

front_url=
graph_url=
answer=				# what the newest command printed
steps=0

# -- Ending --------------------------------------------------------------------

# Runs when the script ends.  If that is because something went wrong, tell what
# the programs said.
finish()
{
	local status=$?

	trap '' INT TERM HUP PIPE
	case $status in
		0|129|130|141|143) ;;
		*) show_logs >&2 || true ;;
	esac
	sandbox_destroy
}

show_logs()
{
	local log

	for log in "$SANDBOX_LOG/demo.log" "$FRONT_LOG" "$GRAPH_LOG"; do
		[ -s "$log" ] || continue
		printf -- '\n---- end of %s:\n' "${log##*/}"
		tail -n 30 "$log"
	done
}

# Make a script that ends it all.  It ends a process only if that works in our
# folder: another one may have its number by then.
write_stop_script()
{
	local postmaster

	postmaster=$(head -n 1 "$SANDBOX/demo/postmaster.pid")
	cat >"$SANDBOX/stop" <<END
#!/usr/bin/env bash
# Ends what "make demo KEEP=1" left running, and removes it

cd /
for pid in $FRONT_PID $GRAPH_PID $postmaster; do
	while [[ \$(readlink "/proc/\$pid/cwd") = "$SANDBOX"/* ]]; do
		kill -INT "\$pid"
		sleep 0.2
	done
done
rm -rf "$SANDBOX"
END
}

# Leave everything as it is, and say how to get at it
keep()
{
	local sudo=${SUDO_COMMAND:+sudo } psql=psql

	have psql || psql=$SANDBOX_BINDIR/psql
	printf '{"body":\n%s}\n' "$(webhook "$(date +%s)" wamid.DEMO_KEPT_1 \
		'"type": "text", "text": {"body": "And the red one?"}')" >"$SANDBOX/webhook.json"
	write_stop_script
	cat <<-END

		Everything keeps running.

		The database:
		  $sudo$psql -h $SANDBOX/run -p $(ask 'SHOW port') -U postgres demo

		The front, and the simulator (the top of test/graph.js says what it can do):
		  $front_url
		  $graph_url

		A message that comes in, signed by the simulator (each id is filed once; edit the file):
		  ${sudo}curl -sS $graph_url/_webhook -d @$SANDBOX/webhook.json

		Stop and remove it all:
		  ${sudo}bash $SANDBOX/stop
	END
	trap - EXIT INT TERM HUP PIPE
}

# -- Telling and doing ---------------------------------------------------------

# Begin a step
step()
{
	local title

	steps=$((steps + 1))
	title="$steps. $1"
	printf '\n\n%s\n%s\n' "$title" "${title//?/=}"
}

# Print a command as if it had been typed after a prompt
show()
{
	local prompt=$1 command=$2

	printf '\n%s%s\n' "$prompt" "${command//$'\n'/$'\n'${prompt//?/ }}"
}

# Run a command, print its output and keep it
run()
{
	local status=0

	answer=$(sandbox_as_user "$@" 2>&1 </dev/null) || status=$?
	printf '%s\n' "$answer"
	[ "$status" -eq 0 ] || die 'That went wrong.'
}

# Have the database run a statement
sql()
{
	show 'demo=# ' "$1"
	run psql -X -d demo -P border=1 -P footer=off -c "$1"
}

# Have a shell run a command
shell()
{
	show '$ ' "$1"
	run sh -c "$1"
}

# Print what a query gives, and nothing else
ask()
{
	sandbox_as_user psql -X -A -t -d demo -c "$1" </dev/null
}

# Try a command until it succeeds, for half a minute
wait_until()
{
	local end=$((SECONDS + 30))

	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# -- Plumbing ------------------------------------------------------------------

# The front needs to know the database, the simulator the front, and the
# database the simulator; so that is told to the database last.  They are all
# here: no proxy is to come in between.
start_everything()
{
	SANDBOX_ENV+=('no_proxy=127.0.0.1' 'NO_PROXY=127.0.0.1')
	sandbox_start_cluster demo "shared_preload_libraries = 'whatsapp'"
	sandbox_as_user createdb demo
	start_front
	start_simulator
	ask "ALTER SYSTEM SET whatsapp.graph_url = '$graph_url'" >/dev/null
	ask 'SELECT pg_reload_conf()' >/dev/null
	wait_until knows_simulator || die 'The database does not reload its configuration.'
}

# Its role is made in step 1; it connects when the first request comes
start_front()
{
	FRONT_LOG=$SANDBOX_LOG/front.log
	sandbox_in_background "$FRONT_LOG" env PORT=0 "PGUSER=$FRONT_ROLE" PGDATABASE=demo \
		node examples/express/server.js
	FRONT_PID=$!
	wait_until listens_or_ended "$FRONT_PID" "$FRONT_LOG" || true
	front_url=http://127.0.0.1:$(port_in "$FRONT_LOG")/webhook
}

start_simulator()
{
	GRAPH_LOG=$SANDBOX_LOG/simulator.log
	sandbox_in_background "$GRAPH_LOG" node test/graph.js --token "$ACCESS_TOKEN" \
		--secret "$APP_SECRET" --webhook "$front_url"
	GRAPH_PID=$!
	wait_until listens_or_ended "$GRAPH_PID" "$GRAPH_LOG" || true
	graph_url=http://127.0.0.1:$(port_in "$GRAPH_LOG")
}

listens_or_ended()
{
	grep -qs '^listening on ' "$2" || ! kill -0 "$1" 2>/dev/null
}

# Print the port that a program says it listens on
port_in()
{
	sed -n 's/^listening on //p' "$1" | grep . || die "$(basename "$1" .log) did not start."
}

# New connections have the setting once the server has it, and so has all that
# it starts from then on
knows_simulator()
{
	[ "$(ask 'SHOW whatsapp.graph_url')" = "$graph_url" ]
}

# -- What Meta does ------------------------------------------------------------

# Print a webhook as Meta writes it: a message from Ada, with this time, this id
# and these keys
webhook()
{
	local time=$1 id=$2 keys=$3

	cat <<-END
		{"object": "whatsapp_business_account",
		 "entry": [{"id": "$WABA", "changes": [{"field": "messages", "value": {
		   "messaging_product": "whatsapp",
		   "metadata": {"display_phone_number": "$DISPLAY_NUMBER", "phone_number_id": "$NUMBER"},
		   "contacts": [{"profile": {"name": "Ada"}, "wa_id": "$PERSON"}],
		   "messages": [{"from": "$PERSON", "timestamp": "$time",
		     "id": "$id",
		     $keys}]}}]}]}
	END
}

# Have the simulator sign a webhook and post it to the front
post_webhook()
{
	shell "curl -sS $graph_url/_webhook -d '{\"body\":
$(webhook "$@")}'"
	[[ $answer == '{"status":200,'* ]] || die 'The webhook was not accepted.'
}

# Ask the front what Meta asks when its address is entered in the dashboard
handshake()
{
	shell "curl -sS -w '\\nHTTP status %{http_code}\\n' -G $front_url \\
  -d hub.mode=subscribe -d hub.verify_token=$1 -d hub.challenge=$CHALLENGE"
}

# -- The steps -----------------------------------------------------------------

tell_about_number()
{
	step 'Tell the database about your number'
	sql 'CREATE EXTENSION whatsapp;'
	sql "SELECT whatsapp.add_number('$NUMBER',
    waba_id => '$WABA',
    display_phone_number => '$DISPLAY_NUMBER',
    access_token => '$ACCESS_TOKEN',
    app_secret => '$APP_SECRET',
    verify_token => '$VERIFY_TOKEN');"

	printf '\nThe front logs in as a role that may hand over webhooks, and nothing else.\n'
	sql "CREATE ROLE $FRONT_ROLE LOGIN;"
	sql "SELECT whatsapp.grant_access('$FRONT_ROLE', 'webhook');"
}

verify_address()
{
	step 'Meta asks whether the address is yours'
	handshake "$VERIFY_TOKEN"
	[ "$answer" = "$CHALLENGE"$'\nHTTP status 200' ] || die 'The challenge was not answered.'

	printf '\nAnybody else does not know the verify token.\n'
	handshake a-guess
	[[ $answer == *'HTTP status 403' ]] || die 'A wrong token was not refused.'
}

receive_message()
{
	step 'Ada writes: Meta posts a webhook, signed with the app secret'
	post_webhook "$(date +%s)" wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQTdCNUJEMEU3NEFDQkRDOTQ3RQA= \
		'"type": "text", "text": {"body": "Hi! Is the blue one still available?"}'
}

show_message()
{
	step 'Her message is a row'
	sql 'SELECT direction, wa_id, type, body, sent_at FROM whatsapp.messages;'
}

send_answer()
{
	step 'Your answer is a row, too'
	sql "INSERT INTO whatsapp.outbox (recipient, body)
VALUES ('$PERSON', 'Yes, we kept one for you.')
RETURNING id, state;"
}

answer_is_read()
{
	[ "$(ask 'SELECT o.state, m.status FROM whatsapp.outbox o
		JOIN whatsapp.messages m ON m.outbox_id = o.id')" = 'sent|read' ]
}

watch_answer()
{
	step 'It is sent, and webhooks tell how far it has got'
	wait_until answer_is_read || echo 'That takes too long.'
	sql 'SELECT id, state, message_id FROM whatsapp.outbox;'
	sql 'SELECT status, at, wa_id FROM whatsapp.statuses
ORDER BY at, whatsapp.status_rank(status);'
	answer_is_read || die 'The answer was not sent and read.'
	[ "$(ask 'SELECT status FROM whatsapp.statuses ORDER BY at, whatsapp.status_rank(status)')" = \
		$'sent\ndelivered\nread' ] || die 'These are not the statuses sent, delivered and read.'
}

# The simulator's statuses call every contact by one name of its own.  Of what
# webhooks say of a person the newest counts, and time is in whole seconds: this
# webhook is the newest for certain if it is of the next second.
receive_reaction()
{
	local message_id

	step 'Ada reacts'
	message_id=$(ask 'SELECT message_id FROM whatsapp.outbox')
	post_webhook "$(($(date +%s) + 1))" wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQUY1RDc0QzA5RTI4QjYxRjBBMgA= \
		"\"type\": \"reaction\",
     \"reaction\": {\"message_id\": \"$message_id\",
       \"emoji\": \"👍\"}"
	sql 'SELECT wa_id, emoji, at, message_id FROM whatsapp.reactions;'
}

show_conversation()
{
	step 'The conversation'
	sql "SELECT m.direction, coalesce(c.name, m.wa_id) AS name, m.body, m.status, r.emoji AS reaction
FROM whatsapp.messages m
LEFT JOIN whatsapp.contacts c USING (phone_number_id, wa_id)
LEFT JOIN whatsapp.reactions r USING (phone_number_id, message_id)
WHERE m.type <> 'reaction'
ORDER BY m.sent_at;"
	[ "$(ask "SELECT m.direction, c.name, m.status, r.emoji
		FROM whatsapp.messages m
		JOIN whatsapp.contacts c USING (phone_number_id, wa_id)
		LEFT JOIN whatsapp.reactions r USING (phone_number_id, message_id)
		WHERE m.type <> 'reaction'
		ORDER BY m.sent_at")" = $'inbound|Ada||\noutbound|Ada|read|👍' ] ||
		die 'That is not what was said.'
}

main()
{
	echo 'Setting up'
	sandbox_create
	trap finish EXIT
	echo "Building with $("$SANDBOX_PG_CONFIG" --version)"
	sandbox_build
	sandbox_front_modules
	start_everything
	cat <<-END
		A simulator plays Meta, on $graph_url; the database sends to it.
		Its webhooks come to a front, on $front_url, which hands them to the database.
	END

	tell_about_number
	verify_address
	receive_message
	show_message
	send_answer
	watch_answer
	receive_reaction
	show_conversation
	[ "${KEEP:-0}" = 0 ] || keep
}

main
