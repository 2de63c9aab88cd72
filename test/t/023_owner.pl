# The extension's owner need not be a superuser, nor who created it.
#
# What it takes then, and what is said of what is missing.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('owner', $graph);
my $needs_login = $node->pg_version < 17;

# Who the sender of a database is
sub sender_user
{
	my ($database) = @_;

	return $node->safe_psql('postgres',
		"SELECT usename FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND datname = '$database'"
	);
}

# What is missing for a number to send, until it is what we expect
sub is_missing
{
	my ($database, $pattern, $name) = @_;
	my $missing;

	ok( wait_until(
			"sender_status says $pattern",
			sub {
				$missing = $node->safe_psql($database,
					"SELECT concat_ws(': ', state, missing) FROM whatsapp.sender_status"
				);
				$missing =~ $pattern;
			}),
		$name) or diag($missing);
	return;
}

# Everything that there is to be done, as a role and by the worker
sub works
{
	my ($database, $role, $what) = @_;

	$node->safe_psql($database,
		"SET SESSION AUTHORIZATION $role; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', '$what')"
	);
	ok( wait_until(
			"$what is sent",
			sub {
				$node->safe_psql($database,
					"SELECT state FROM whatsapp.outbox WHERE body = '$what'")
				  eq 'sent';
			}),
		"$what: it sends");
	is( $node->safe_psql($database, qq{
			SET SESSION AUTHORIZATION $role;
			SELECT messages FROM whatsapp.ingest_unsigned('{"entry":[{"id":"1","changes":[{"field":"messages","value":{
				"metadata":{"phone_number_id":"@{[NUMBER]}"},
				"messages":[{"id":"$what","from":"15551234567","timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}]}}]}]}');
		}),
		'1',
		"$what: it files webhooks, and calls its hook");
	is( $node->safe_psql($database,
			"SELECT count(*) FROM app.seen WHERE message_id = '$what'"),
		'1',
		"$what: the hook has been called");
	return;
}

# What the role makes for itself, as its own
sub set_up
{
	my ($database, $role) = @_;

	$node->safe_psql($database, qq{
		SET SESSION AUTHORIZATION $role;
		SELECT whatsapp.add_number('@{[NUMBER]}', waba_id => '1', access_token => '@{[TOKEN]}', app_secret => 'app-secret');
		CREATE SCHEMA app;
		CREATE TABLE app.seen (message_id text);
		CREATE FUNCTION app.note(m whatsapp.messages) RETURNS void
		LANGUAGE sql AS \$\$ INSERT INTO app.seen SELECT m.message_id WHERE m.direction = 'inbound' \$\$;
		SELECT whatsapp.add_hook('message', 'app.note');
	});
	return;
}

# A superuser for the moment
$node->safe_psql('postgres',
	'CREATE ROLE keeper SUPERUSER LOGIN; CREATE DATABASE one');
$node->safe_psql('one',
	'GRANT CREATE ON DATABASE one TO keeper; SET ROLE keeper; CREATE EXTENSION whatsapp');
$node->safe_psql('postgres', 'ALTER ROLE keeper NOSUPERUSER');
set_up('one', 'keeper');
ok(wait_for_sender($node, 'one'), 'there is a sender');
is(sender_user('one'), 'keeper', 'and it is the role that owns the extension');
works('one', 'keeper', 'a superuser for the moment');

# The owner gives access to others, and takes it away
$node->safe_psql('postgres', 'CREATE ROLE web LOGIN');
$node->safe_psql('one',
	"SET SESSION AUTHORIZATION keeper; SELECT whatsapp.grant_access('web', 'webhook')");
is( $node->safe_psql('one',
		"SET SESSION AUTHORIZATION web; SELECT status FROM whatsapp.handle_webhook('POST', NULL, 'sha256=x', '{}')"
	),
	'401',
	'a role that it has given access to hands over webhooks');
isnt($node->psql('one', 'SET SESSION AUTHORIZATION web; TABLE whatsapp.secrets'),
	0, 'and nothing else');

# It may not log in, where that matters
SKIP:
{
	skip 'from version 17 on, workers may be roles that cannot log in', 3
	  unless $needs_login;
	$node->safe_psql('postgres',
		"ALTER ROLE keeper NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'whatsapp sender'"
	);
	is_missing('one', qr/no sender: role keeper.*cannot log in/,
		'a role that cannot log in: what is missing is said');
	$node->safe_psql('postgres', 'ALTER ROLE keeper LOGIN');
	ok(wait_for_sender($node, 'one'), 'when it can, there is a sender again');
	is_missing('one', qr/^active$/, 'and nothing is missing');
}

# It may not connect
$node->safe_psql('postgres',
	"REVOKE CONNECT ON DATABASE one FROM PUBLIC; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'whatsapp sender'"
);
is_missing('one', qr/no sender: role keeper.*may not connect/,
	'a role that may not connect: what is missing is said');
$node->safe_psql('postgres', 'GRANT CONNECT ON DATABASE one TO keeper');
ok(wait_for_sender($node, 'one'), 'when it may, there is a sender again');
works('one', 'keeper', 'what was missing is there');

# Given to another role while it works
$node->safe_psql('postgres',
	'CREATE ROLE founder SUPERUSER LOGIN; CREATE ROLE app LOGIN; CREATE DATABASE two');
$node->safe_psql('two', 'SET ROLE founder; CREATE EXTENSION whatsapp');
set_up('two', 'founder');
works('two', 'founder', 'before it is given away');
is(sender_user('two'), 'founder', 'its sender is who created it');
$node->safe_psql('two',
	"SELECT whatsapp.grant_access('web', 'webhook'); REASSIGN OWNED BY founder TO app");
ok( wait_until(
		'the sender is app', sub { sender_user('two') eq 'app' }),
	'given to another role, its sender is that');
is( $node->safe_psql('two', q{
		SELECT count(*) FROM pg_depend d
		LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
		LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'whatsapp')
			AND coalesce(c.relowner, p.proowner, t.typowner, n.nspowner) <> 'app'::regrole}),
	'0',
	'nothing of it is the former owner\'s any more');
$node->safe_psql('postgres', 'ALTER ROLE founder NOSUPERUSER NOLOGIN');
works('two', 'app', 'given to another role');
is( $node->safe_psql('two',
		"SET SESSION AUTHORIZATION web; SELECT status FROM whatsapp.handle_webhook('POST', NULL, 'sha256=x', '{}')"
	),
	'401',
	'who had access has it still');
isnt(
	$node->psql('two',
		"SET SESSION AUTHORIZATION founder; SELECT whatsapp.grant_access('web', 'reader')"),
	0,
	'the former owner has none to give');

# What is on its way meanwhile is recorded
graph_post($graph, '/_script', { recipient => '*', hold => JSON::PP::true });
$node->safe_psql('two',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'on its way')");
wait_for_in_flight($graph, 1, 'a message is on its way');
$node->safe_psql('two', 'REASSIGN OWNED BY app TO keeper');
graph_post($graph, '/_release');
ok( wait_until(
		'it is recorded',
		sub {
			$node->safe_psql('two',
				"SELECT state FROM whatsapp.outbox WHERE body = 'on its way'")
			  =~ /^(sent|unknown)$/;
		}),
	'what is on its way then is recorded, as sent or unknown');
ok(wait_until('the sender is keeper', sub { sender_user('two') eq 'keeper' }),
	'and the sender is the new owner');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/,
	'nothing has crashed');
$node->stop;
done_testing();
