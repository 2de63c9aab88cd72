# Dumps, restores and physical copies keep everything and double nothing, and
# nothing is sent from them until somebody says so.
#
# A database is filled with all that there can be, then dumped and restored in
# every way, with a live sender beside it: that is to leave all rows as they are,
# as they are those of another installation.  The rows are made while there is no
# sender, so that some of them can be what no sender would leave as it is.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Numbers: that of test/webhooks, one that a role has for itself, one that has
# nothing to send, and one that was never given an access token
use constant SHOP => '700111222333444';
use constant TENANT => '700111222333555';
use constant IDLE => '700111222333666';
use constant BARE => '700111222333777';

# Accounts: that of test/webhooks, and another
use constant SHOP_WABA => '900100200300400';
use constant TENANT_WABA => '900100200300500';

# How often it is restored with several jobs, which may get into each other's way
use constant PARALLEL_RESTORES => 10;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $graph = start_graph();
my @conf = (
	'max_worker_processes = 40',
	"whatsapp.poll_interval = '200ms'");
my $origin = PostgreSQL::Test::Cluster->new('origin');

# what the original has, at the moment that it is dumped
my ($original, $rights);

$origin->init(allows_streaming => 1, has_archiving => 1);
configure($origin, $graph, @conf);
$origin->start;
my $second = new_cluster('second', $graph, @conf);

# -- What is in a database -----------------------------------------------------

# Tables and sequences of the original: those that are dumped, those of them that
# the role "tenant" reads, and those that are not dumped
my (@dumped, @readable, @kept);

sub list_relations
{
	foreach (split(/\n/, $origin->safe_psql('shop', <<'SQL')))
SELECT c.oid::regclass, c.oid = ANY (e.extconfig), c.relkind = 'r' AND has_table_privilege('tenant', c.oid, 'SELECT')
FROM pg_class c
JOIN pg_extension e ON e.extname = 'whatsapp'
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'S')
ORDER BY c.relname COLLATE "C"
SQL
	{
		my ($relation, $is_dumped, $is_readable) = split(/\|/);

		push @{ $is_dumped eq 't' ? \@dumped : \@kept }, $relation;
		push @readable, $relation if $is_dumped eq 't' && $is_readable eq 't';
	}
	return;
}

# A query for all rows, and where sequences stand
sub rows_query
{
	return join(' UNION ALL ',
		map {
			/_seq$/
			  ? "SELECT '$_ ' || last_value || ' ' || is_called FROM $_"
			  : "SELECT '$_ ' || to_jsonb(t)::text FROM $_ t"
		} @_);
}

# These are the user's
sub dumped_rows
{
	return rows_query(@dumped, 'shop.seen');
}

# All that there is, whether it is dumped or not
sub everything
{
	my ($node, $database) = @_;

	return [ split(/\n/, $node->safe_psql($database, rows_query(@dumped, @kept, 'shop.seen'))) ];
}

# Who may use which types; test/catalog.sql has all other privileges
use constant TYPES => <<'SQL';
SELECT r.rolname || ' uses ' || t.typname
FROM pg_type t, pg_roles r
WHERE t.typnamespace = 'whatsapp'::regnamespace AND r.rolname ~ '^[a-z]+$' AND has_type_privilege(r.oid, t.oid, 'USAGE')
SQL

# How many rows are not counted, or too many
use constant MISCOUNTED => <<'SQL';
SELECT phone_number_id, sum(queued), sum(sending)
FROM (
	SELECT phone_number_id, queued, sending FROM whatsapp.tallies
	UNION ALL
	SELECT phone_number_id, - (state = 'queued')::integer, - (state = 'sending')::integer FROM whatsapp.outbox
) c
WHERE phone_number_id IS NOT NULL
GROUP BY 1
HAVING sum(queued) <> 0 OR sum(sending) <> 0
SQL

# The lines that queries give, each by its name.  All are asked in one session,
# and the one called tenant as that role.
sub ask
{
	my ($node, $database, %queries) = @_;
	my $script = join('',
		map {
			"\\echo == $_\n"
			  . ($_ eq 'tenant' ? "SET SESSION AUTHORIZATION tenant;\n$queries{$_};\nRESET SESSION AUTHORIZATION;\n" : "$queries{$_};\n")
		} sort keys %queries);
	my ($name, %answers);

	foreach my $line (split(/\n/, $node->safe_psql($database, $script)))
	{
		if ($line =~ /^== (\w+)$/)
		{
			$name = $1;
			$answers{$name} = [];
		}
		else
		{
			push @{ $answers{$name} }, $line;
		}
	}
	return \%answers;
}

# What there is to be restored, and what is not.
sub contents
{
	my ($node, $database) = @_;

	return ask(
		$node, $database,
		rows => dumped_rows(),
		tenant => rows_query(@readable),
		installation => rows_query('whatsapp.installation'),
		shipped => rows_query('whatsapp.shipped_error_classes'),
		secrets => rows_query('whatsapp.secrets'),
		miscounted => MISCOUNTED);
}

# Who may do what, and all that the extension is made of.
sub rights
{
	my ($node, $database) = @_;

	return [ @{ catalog($node, $database) }, split(/\n/, $node->safe_psql($database, TYPES)) ];
}

# Test that a database has what the original has, and nothing more.
sub is_restored
{
	my ($node, $database) = @_;
	my $contents = contents($node, $database);

	is(differences($original->{rows}, $contents->{rows}), '', "$database: the sender has looked, and all rows are as they were");
	is(differences($original->{shipped}, $contents->{shipped}), '', "$database: what comes with the extension is there once");
	is(differences($original->{tenant}, $contents->{tenant}), '', "$database: a role that has one number sees what it saw");
	is_deeply($contents->{miscounted}, [], "$database: messages are counted");
	is_deeply($contents->{secrets}, [], "$database: there are no secrets");
	is(scalar(@{ $contents->{installation} }), 1, "$database: it is an installation");
	isnt($contents->{installation}[0], $original->{installation}[0], "$database: of its own");
	return;
}

# Test that roles may do what they might.
sub rights_are_restored
{
	my ($node, $database) = @_;

	is(differences($rights, rights($node, $database)), '', "$database: roles may do what they might, and no more");
	return;
}

# -- The sender ----------------------------------------------------------------

# Wait until senders have seen to everything that there was to be seen to, of
# which some things are a second apart.
sub wait_for_turns
{
	my ($node, @databases) = @_;
	my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	foreach my $database (@databases)
	{
		wait_until(
			"the sender of $database has looked",
			sub {
				$node->safe_psql('postgres',
					"SELECT bool_and(state_change > greatest('$now', backend_start) + interval '1.5 s') FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND datname = '$database'"
				) eq 't';
			}) or fail("the sender of $database has looked");
	}
	return;
}

# How often somebody was sent something
sub requests
{
	my %requests;

	$requests{ $_->{to} =~ s/^\+//r }++ foreach @{ graph_get($graph, '/_log') };
	return \%requests;
}

# The messages of a number that are to leave when it may send: how often to whom
sub to_leave
{
	my ($number) = @_;

	return $number eq SHOP
	  ? { 15550000011 => 2, 15550000012 => 1, 15550000013 => 1, 15550000014 => 1, 15550000016 => 1, 15550000021 => 1 }
	  : { 15550000031 => 1 };
}

# And what becomes of all of them, by then
my %outcome = (
	SHOP() => 'became due sent, before the moment sent, behind sent, behind one under way sent, cancelled cancelled, '
	  . 'due sent, expired expired, failed failed, held queued, held no more sent, later queued, no body failed, '
	  . 'not yet queued, paused queued, sent sent, to be tried again sent, told sent, under way unknown, unknown unknown',
	TENANT() => 'tenant due sent, tenant expired expired, tenant later queued, tenant under way unknown');

# Test that exactly what is to leave of numbers leaves.
sub leave
{
	my ($node, $database, @numbers) = @_;

	foreach my $number (@numbers)
	{
		wait_until('all has left', sub { states($node, $database, $number) eq $outcome{$number} });
	}
	wait_for_turns($node, $database);
	foreach my $number (@numbers)
	{
		is(states($node, $database, $number), $outcome{$number}, "each message of $number has come to be what it is to be");
	}
	is_deeply(requests(), { map { %{ to_leave($_) } } @numbers }, 'what is due has left, once');
	return;
}

sub states
{
	my ($node, $database, $number) = @_;

	return $node->safe_psql($database,
		"SELECT string_agg(idempotency_key || ' ' || state, ', ' ORDER BY idempotency_key COLLATE \"C\") FROM whatsapp.outbox WHERE phone_number_id = '$number'"
	);
}

# -- Dumps ---------------------------------------------------------------------

# Run one of PostgreSQL's programs.  Returns what it complains of.
sub complaints
{
	my ($node, $database, $program, @arguments) = @_;
	my ($output, $errors);

	IPC::Run::run([ $program, '--dbname', $node->connstr($database), @arguments ],
		'<', \undef, '>', \$output, '2>', \$errors)
	  or $errors .= "$program failed\n";
	return $errors;
}

sub create_database
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	return;
}

sub psql_file
{
	my ($node, $database, $file) = @_;

	return complaints($node, $database, 'psql', '--no-psqlrc', '--quiet',
		'--set=ON_ERROR_STOP=1', "--file=$file");
}

# -- The original --------------------------------------------------------------

sub file_webhooks
{
	my (@bodies) = @_;
	my $list = join(',', map { "('\\x" . unpack('H*', $_) . "'::bytea)" } @bodies);

	return $origin->safe_psql('shop', sprintf(<<'SQL', SECRET, $list));
SELECT DISTINCT r.http_status
FROM (SELECT array_agg(b) AS bodies, array_agg(whatsapp.sign(b, '%s')) AS signatures FROM (VALUES %s) v (b)) w,
	whatsapp.ingest_batch(w.bodies, w.signatures) r
SQL
}

# A webhook with a message
sub message
{
	my ($number, $waba, $body) = @_;

	return qq({"object":"whatsapp_business_account","entry":[{"id":"$waba","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"$number"},"contacts":[{"profile":{"name":"Ann"},"wa_id":"15550000099","user_id":"US.99"}],"messages":[{"from":"15550000099","from_user_id":"US.99","id":"wamid.$number.$body","timestamp":"1750101000","type":"text","text":{"body":"$body"}}]}}]}]});
}

# A webhook that says that a template is paused
sub paused_template
{
	my ($name) = @_;

	return sprintf('{"object":"whatsapp_business_account","entry":[{"id":"%s","changes":[{"field":"message_template_status_update","value":{"event":"PAUSED","message_template_id":"of %s","message_template_name":"%s","message_template_language":"en_US"}}]}]}',
		SHOP_WABA, $name, $name);
}

$origin->safe_psql('postgres', 'CREATE DATABASE shop');
$origin->safe_psql('shop', sprintf(<<'SQL', SHOP, SHOP_WABA, TOKEN, SECRET, VERIFY_TOKEN, TENANT, TENANT_WABA, TOKEN, IDLE, TOKEN, BARE));
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('%s', waba_id => '%s', access_token => '%s', app_secret => '%s', verify_token => '%s');
SELECT whatsapp.add_number('%s', waba_id => '%s', access_token => '%s', app_secret => 'thesecretofthetenant', verify_token => 'thewordofthetenant');
SELECT whatsapp.add_number('%s', access_token => '%s');
SELECT whatsapp.add_number('%s');
UPDATE whatsapp.error_classes SET class = 'permanent' WHERE code = 131000;
INSERT INTO whatsapp.error_classes (code, class, meaning) VALUES (999999, 'retry', 'one of ours');

CREATE SCHEMA shop;
CREATE TABLE shop.seen (message_id text);
CREATE FUNCTION shop.see(m whatsapp.messages) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
	IF m.body = 'refuse me' THEN
		RAISE 'I do not like it';
	END IF;
	INSERT INTO shop.seen VALUES (m.message_id);
END $$;
SELECT whatsapp.add_hook('message', 'shop.see');

CREATE ROLE front LOGIN;
CREATE ROLE tenant LOGIN;
CREATE ROLE clerk LOGIN;
CREATE ROLE boss LOGIN;
CREATE ROLE auditor LOGIN;
CREATE ROLE staff;
CREATE ROLE apprentice LOGIN IN ROLE staff;
SQL
$origin->safe_psql('shop', sprintf(<<'SQL', TENANT, SHOP, SHOP));
SELECT whatsapp.grant_access('front', 'webhook');
SELECT whatsapp.grant_access('tenant', 'sender', '{%s}');
SELECT whatsapp.grant_access('tenant', 'reader');
SELECT whatsapp.grant_access('clerk', 'reader');
SELECT whatsapp.grant_access('boss', 'admin');
SELECT whatsapp.grant_access('auditor', 'reader', '{%s}');
SELECT whatsapp.grant_access('staff', 'sender', '{%s}');
SQL

# What a live sender makes: messages that have come to an end, and the hold of a
# template that a webhook says is paused
ok(wait_for_sender($origin, 'shop'), 'there is a sender');
graph_post($graph, '/_script', { recipient => '15550000002', error => { code => 131026 } });
graph_post($graph, '/_script', { recipient => '15550000003', close => JSON::PP::true });
is(file_webhooks((map { slurp_file($_) } sort glob('test/webhooks/*.json')), paused_template('offer')), '200', 'webhooks are filed');
$origin->safe_psql('shop', sprintf(<<'SQL', SHOP));
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body)
SELECT '%s', v.key, v.recipient, 'hello'
FROM (VALUES ('sent', '15550000001'), ('failed', '15550000002'), ('unknown', '15550000003')) v (key, recipient);
SQL
wait_for_state($origin, "idempotency_key = '$_'", $_, "a message is $_", 'shop')
  foreach qw(sent failed unknown);
ok( wait_until(
		'the template is held',
		sub {
			$origin->safe_psql('shop', "SELECT count(*) FROM whatsapp.holds WHERE kind = 'template' AND key = 'offer en_US'") eq '1';
		}),
	'a template is held');
is_deeply(requests(), { 15550000001 => 1, 15550000002 => 1, 15550000003 => 1 }, 'some messages have left');
graph_post($graph, '/_reset');

# The rest is made without one
$origin->append_conf('postgresql.conf', $_) foreach "shared_preload_libraries = ''", 'whatsapp.enabled = off';
$origin->restart;
file_webhooks(message(SHOP, SHOP_WABA, 'refuse me'), 'this is no JSON', paused_template('news'));
$origin->safe_psql('shop', "SELECT whatsapp.ingest_unsigned('" . message(TENANT, TENANT_WABA, 'hello') . "')");
$origin->safe_psql('shop', sprintf(<<'SQL', SHOP, TENANT, BARE, IDLE));
-- queued as people do
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body, send_after)
SELECT '%1$s', v.key, v.recipient, 'hello', v.send_after
FROM (VALUES
	('due', '15550000011', NULL),
	('behind', '15550000011', NULL),
	('later', '15550000018', now() + interval '1 year'),
	('cancelled', '15550000019', NULL)) v (key, recipient, send_after);
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, type, content)
VALUES ('%1$s', 'held', '15550000015', 'template', '{"name": "offer", "language": {"code": "en_US"}}');
INSERT INTO whatsapp.holds (phone_number_id, kind, key, reason) VALUES ('%1$s', 'campaign', 'spring', 'wrong price');
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body, campaign)
VALUES ('%1$s', 'paused', '15550000025', 'hello', 'spring');
SELECT whatsapp.cancel(id) FROM whatsapp.outbox WHERE idempotency_key = 'cancelled';

-- queued long ago, and since then nobody has looked; some would be refused now
SET session_replication_role = replica;
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body, waits_for, send_after, retry_at, expires_at, created_at)
SELECT v.phone_number_id, v.key, v.recipient, v.body, v.waits_for,
	now() + v.send_after::interval, now() + v.retry_at::interval, now() + v.expires_at::interval, now() - interval '1 month'
FROM (VALUES
	('%1$s', 'became due', '15550000012', 'hello', 'schedule', '-1 day', NULL, NULL),
	('%1$s', 'to be tried again', '15550000013', 'hello', 'retry', NULL, '-1 day', NULL),
	('%1$s', 'not yet', '15550000020', 'hello', 'retry', NULL, '1 year', NULL),
	('%1$s', 'expired', '15550000022', 'hello', NULL, NULL, NULL, '-1 day'),
	('%1$s', 'no body', '15550000023', NULL, NULL, NULL, NULL, NULL),
	('%1$s', 'under way', '15550000016', 'hello', NULL, NULL, NULL, NULL),
	('%1$s', 'behind one under way', '15550000016', 'hello', 'turn', NULL, NULL, NULL),
	('%1$s', 'told', '15550000017', 'hello', NULL, NULL, NULL, NULL),
	('%2$s', 'tenant due', '15550000031', 'hello', NULL, NULL, NULL, NULL),
	('%2$s', 'tenant later', '15550000032', 'hello', 'schedule', '1 year', NULL, NULL),
	('%2$s', 'tenant expired', '15550000033', 'hello', 'schedule', '1 year', NULL, '-1 day'),
	('%2$s', 'tenant under way', '15550000034', 'hello', NULL, NULL, NULL, NULL),
	('%3$s', 'without token', '15550000041', 'hello', NULL, NULL, NULL, NULL),
	('%3$s', 'without token, expired', '15550000044', 'hello', NULL, NULL, NULL, '-1 day'),
	('1', 'from nowhere', '15550000042', 'hello', NULL, NULL, NULL, NULL),
	(NULL, 'from none', NULL, 'hello', NULL, NULL, NULL, NULL)
) v (phone_number_id, key, recipient, body, waits_for, send_after, retry_at, expires_at);
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, type, content, waits_for, created_at)
VALUES ('%1$s', 'held no more', '15550000014', 'template', '{"name": "welcome", "language": {"code": "en_US"}}', 'hold', now() - interval '1 month');
INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body, state, attempts, message_id, created_at, finished_at)
VALUES ('%4$s', 'long ago', '15550000043', 'hello', 'sent', 1, 'wamid.longago', now() - interval '20 days', now() - interval '20 days');
UPDATE whatsapp.outbox
SET state = 'sending', attempts = 1, nonce = '0123456789abcdef', claimed_at = now()
WHERE idempotency_key IN ('under way', 'told', 'tenant under way');

-- what a status told while the row was locked, and a hold and a pause whose time is over
INSERT INTO whatsapp.evidence (phone_number_id, message_id, status, outbox_id, nonce, wa_id, received_at)
SELECT '%1$s', 'wamid.told', 'delivered', id, nonce, '15550000017', now() - interval '1 day'
FROM whatsapp.outbox
WHERE idempotency_key = 'told';
INSERT INTO whatsapp.holds (phone_number_id, kind, key, since, until, error_code)
VALUES ('%1$s', 'pair', '+15550000024', now() - interval '1 month', now() - interval '1 month', 131056);
SELECT whatsapp.pause_number('%2$s', 'for a day', now() - interval '1 day');
ANALYZE;
SQL

# Everything up to a moment, and something after it
$origin->backup('base');
file_webhooks(message(SHOP, SHOP_WABA, 'before the moment'));
$origin->safe_psql('shop', sprintf("INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body) VALUES ('%s', 'before the moment', '15550000021', 'hello')", SHOP));
list_relations();
my $at_the_moment = everything($origin, 'shop');
$original = contents($origin, 'shop');
$rights = rights($origin, 'shop');
my @secrets = split(/\n/, $origin->safe_psql('shop', 'SELECT DISTINCT value FROM whatsapp.secrets'));
my $moment = $origin->safe_psql('postgres', 'SELECT clock_timestamp()');

subtest 'there is something of everything that is dumped' => sub {
	foreach my $relation (@dumped)
	{
		ok((grep { /^\Q$relation\E / } @{ $original->{rows} }), "there is something in $relation");
	}
	is("@kept", join(' ', map { "whatsapp.$_" } qw(installation secrets secrets_secret_id_seq shipped_error_classes tallies tallies_tally_id_seq)),
		'and these are not dumped');
	is_deeply([ sort map { /(parked|unreadable)/ } grep { /^whatsapp.webhooks / } @{ $original->{rows} } ],
		[qw(parked unreadable)], 'webhooks were parked, and could not be read')
	  or diag(join("\n", grep { /^whatsapp.webhooks / } @{ $original->{rows} }));
	is( $origin->safe_psql('shop', "SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM whatsapp.outbox"),
		'cancelled failed queued sending sent unknown', 'messages are in all states');
	is( $origin->safe_psql('shop', "SELECT string_agg(DISTINCT waits_for, ' ' ORDER BY waits_for) FROM whatsapp.outbox WHERE state = 'queued'"),
		'campaign hold retry schedule turn', 'and wait for whatever there is to wait for');
	is( $origin->safe_psql('shop', 'SELECT count(*) > 0 FROM whatsapp.outbox o, whatsapp.outbox_complaint(o)'),
		't', 'some would be refused now');
	my @tenant = @{ $original->{tenant} };
	cmp_ok(scalar(@tenant), '>', 8, 'a role that has one number sees rows of it');
	is(join("\n", grep { index($_, SHOP) >= 0 } @tenant), '', 'and none of another');
	is(scalar(@secrets), 5, 'there are secrets');
};

# -- Dumping -------------------------------------------------------------------

subtest 'it is dumped without its secrets' => sub {
	is(complaints($origin, 'shop', 'pg_dump', "--file=$folder/plain"), '', 'as a script');
	is(complaints($origin, 'shop', 'pg_dump', '--format=custom', "--file=$folder/custom"), '', 'as an archive');
	is(complaints($origin, 'shop', 'pg_dump', '--schema-only', "--file=$folder/schema"), '', 'what there is');
	is(complaints($origin, 'shop', 'pg_dump', '--data-only', "--file=$folder/data"), '', 'and rows only');
	is(complaints($origin, 'shop', 'pg_dump', '--data-only', '--format=custom', "--file=$folder/rows"), '', '... as an archive');
	is(complaints($origin, 'postgres', 'pg_dumpall', "--file=$folder/all"), '', 'the whole server');
	my %texts = map { $_ => slurp_file("$folder/$_") } qw(plain custom schema data rows all);
	$texts{"$_, read"} = (run_command([ 'pg_restore', '--file=-', "$folder/$_" ]))[0] foreach qw(custom rows);
	foreach my $name (sort keys %texts)
	{
		my $is_there = $name =~ /^(custom|rows|schema)$/ ? 0 : 1;

		is(index($texts{$name}, 'behind one under way') >= 0 ? 1 : 0, $is_there, "messages can be read in $name: $is_there");
		is(index($texts{$name}, $_) >= 0 ? 'told' : 'not told', 'not told', "\"$_\" is not told in $name") foreach @secrets;
	}
};

# After the moment
$origin->safe_psql('shop', sprintf("INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body) VALUES ('%s', 'after the moment', '15550000025', 'hello')", SHOP));
file_webhooks(message(SHOP, SHOP_WABA, 'after the moment'));
my $wal = $origin->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
my $in_the_end = everything($origin, 'shop');
ok( wait_until(
		'it is archived',
		sub {
			$origin->safe_psql('postgres', "SELECT last_archived_wal >= '$wal' FROM pg_stat_archiver") eq 't';
		}),
	'all that has happened is archived');

# From now on there are senders, but for the original
$origin->append_conf('postgresql.conf', $_) foreach "shared_preload_libraries = 'whatsapp'", 'whatsapp.enabled = on';
$origin->safe_psql('postgres', 'ALTER DATABASE shop WITH ALLOW_CONNECTIONS false');
$origin->restart;

# -- Restoring -----------------------------------------------------------------

# Test that databases have all that the original has, and still do when their
# senders have looked at it.
sub are_restored
{
	my ($node, @databases) = @_;

	foreach my $database (@databases)
	{
		my $rows = ask($node, $database, rows => dumped_rows())->{rows};

		is(differences($original->{rows}, $rows), '', "$database: all rows are there, once");
	}
	wait_for_turns($node, @databases);
	is_restored($node, $_) foreach @databases;
	is_deeply(requests(), {}, 'nothing is sent');
	return;
}

subtest 'pg_dump and psql restore it' => sub {
	create_database($origin, 'plain');
	is(psql_file($origin, 'plain', "$folder/plain"), '', 'nobody complains');
	are_restored($origin, 'plain');
	rights_are_restored($origin, 'plain');
};

subtest 'pg_dump and pg_restore do so with several jobs, whichever is first' => sub {
	my @databases = map { "jobs$_" } 1 .. PARALLEL_RESTORES;

	foreach my $database (@databases)
	{
		create_database($origin, $database);
		is(complaints($origin, $database, 'pg_restore', '--jobs=4', '--exit-on-error', "$folder/custom"),
			'', "nobody complains of $database");
	}
	are_restored($origin, @databases);
	rights_are_restored($origin, $databases[0]);
};

subtest 'rows alone are restored where the extension and a sender are there' => sub {
	foreach my $database (qw(data reverse))
	{
		create_database($origin, $database);
		is(psql_file($origin, $database, "$folder/schema"), '', "there is all but rows in $database");
		ok(wait_for_sender($origin, $database), 'and a sender');
	}
	is(psql_file($origin, 'data', "$folder/data"), '', 'nobody complains');

	# tables the other way round
	my ($list) = run_command([ 'pg_restore', '--list', "$folder/rows" ]);
	append_to_file("$folder/list", join("\n", reverse(grep { /^\d/ } split(/\n/, $list))) . "\n");
	is(complaints($origin, 'reverse', 'pg_restore', '--exit-on-error', "--use-list=$folder/list", "$folder/rows"),
		'', 'nor when the last table comes first');
	are_restored($origin, qw(data reverse));
	rights_are_restored($origin, 'data');
};

subtest 'pg_dumpall and psql restore it on another server' => sub {
	my $errors = complaints($second, 'postgres', 'psql', '--no-psqlrc', '--quiet', "--file=$folder/all");

	# who restores it is there already
	$errors =~ s/^.*ERROR:  role "\w+" already exists\n//;
	is($errors, '', 'nobody complains');
	is( $second->safe_psql('shop', "SET SESSION AUTHORIZATION apprentice; SELECT has_table_privilege('whatsapp.outbox', 'SELECT') AND 'staff' = ANY (ARRAY(SELECT role_name FROM whatsapp.number_roles))"),
		't', 'roles are members of others, as before');

	create_database($second, 'plain');
	is(psql_file($second, 'plain', "$folder/plain"), '', 'nor of a single database there');
	are_restored($second, qw(shop plain));
	rights_are_restored($second, $_) foreach qw(shop plain);
	$second->stop;
};

# -- To go on there ------------------------------------------------------------

sub number_state
{
	my ($node, $database, $number) = @_;

	return $node->safe_psql($database,
		"SELECT concat_ws(' ', state, paused_reason) FROM whatsapp.sender_status WHERE phone_number_id = '$number'");
}

subtest 'a restored number that is given an access token waits for somebody to look' => sub {
	is(number_state($origin, 'plain', SHOP), 'copy', 'at first it is a copy');
	is(number_state($origin, 'plain', BARE), 'no access token', 'unless it has never had a token');
	$origin->safe_psql('plain', sprintf("SELECT whatsapp.set_access_token('%s', '%s'), whatsapp.set_access_token('%s', '%s')", SHOP, TOKEN, IDLE, TOKEN));
	is(number_state($origin, 'plain', SHOP), 'paused restored', 'then it is paused');
	is(number_state($origin, 'plain', IDLE), 'active', 'unless there is nothing that was not finished');
	wait_for_turns($origin, 'plain');
	is(states($origin, 'plain', SHOP) =~ s/.*(under way \w+).*/$1/r, 'under way unknown', 'what was under way is unknown');
	is_deeply(requests(), {}, 'nothing is sent');

	$origin->safe_psql('plain', sprintf("SELECT whatsapp.resume_number('%s')", SHOP));
	leave($origin, 'plain', SHOP);
	is( differences(map { [ grep { /^whatsapp\.(outbox|numbers|changed_lanes) / && index($_, TENANT) >= 0 } @$_ ] } $original->{rows}, everything($origin, 'plain')),
		'', 'another number is left alone, and its messages');

	graph_post($graph, '/_script', { recipient => '15550000026', error => { code => 131000 } });
	$origin->safe_psql('plain', sprintf("INSERT INTO whatsapp.outbox (phone_number_id, idempotency_key, recipient, body) VALUES ('%s', 'override', '15550000026', 'hello')", SHOP));
	wait_for_state($origin, "idempotency_key = 'override'", 'failed', 'errors are what they were declared to be', 'plain');
	$origin->safe_psql('plain', sprintf("SELECT whatsapp.ingest_unsigned('%s')", message(SHOP, SHOP_WABA, $_)))
	  foreach 'before the moment', 'again';
	is( $origin->safe_psql('plain', sprintf("SELECT string_agg(message_id, ' ' ORDER BY message_id) FROM shop.seen WHERE message_id ~ 'wamid.%s.(before|again)'", SHOP)),
		'wamid.' . SHOP . '.again wamid.' . SHOP . '.before the moment', 'the hook is called for what is new');
	graph_post($graph, '/_reset');
};

subtest 'a copy of the database by CREATE DATABASE sends nothing by itself' => sub {
	$origin->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
	ok(wait_for_sender($origin, 'copy'), 'there is a sender');
	wait_for_turns($origin, 'copy');

	# what is only counted may be counted otherwise
	my @lines = map { [ grep { !/^whatsapp\.tallies/ } @$_ ] } $in_the_end, everything($origin, 'copy');

	is(differences(@lines), '', 'all rows are there, secrets too');
	is(number_state($origin, 'copy', $_), 'copy', "number $_ is a copy") foreach SHOP, IDLE;
	is_deeply(requests(), {}, 'nothing is sent');

	$origin->safe_psql('copy', sprintf("SELECT whatsapp.set_access_token('%s', '%s')", TENANT, TOKEN));
	is(number_state($origin, 'copy', TENANT), 'paused restored', 'a number that is given an access token is paused');
	wait_for_turns($origin, 'copy');
	is_deeply(requests(), {}, 'nothing is sent');
	$origin->safe_psql('copy', sprintf("SELECT whatsapp.resume_number('%s')", TENANT));
	leave($origin, 'copy', TENANT);
	graph_post($graph, '/_reset');
};
$origin->stop;

# -- Physical copies -----------------------------------------------------------

subtest 'a physical copy goes on from the moment that it was recovered to' => sub {
	my $later = PostgreSQL::Test::Cluster->new('later');

	$later->init_from_backup($origin, 'base', has_restoring => 1, standby => 0);
	$later->append_conf('postgresql.conf', $_)
	  foreach "shared_preload_libraries = 'whatsapp'", 'whatsapp.enabled = off', 'archive_mode = off',
	  "recovery_target_time = '$moment'", 'recovery_target_action = pause';
	$later->start;
	ok( wait_until(
			'it is recovered',
			sub { $later->safe_psql('postgres', 'SELECT pg_get_wal_replay_pause_state()') eq 'paused' }),
		'it is recovered to that moment');

	# sequences may be ahead after a recovery
	my @lines = map { [ grep { !/_seq / } @$_ ] } $at_the_moment, everything($later, 'shop');

	is(differences(@lines), '', 'all rows are there, secrets too, and none of later');

	$later->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
	ok(wait_for_sender($later, 'shop'), 'then there is a sender');
	wait_for_turns($later, 'shop');
	is_deeply(requests(), {}, 'nothing is sent while it is off');
	is( $later->safe_psql('shop', "SELECT string_agg(idempotency_key, ', ' ORDER BY id) FROM whatsapp.outbox WHERE state = 'queued' AND waits_for IS NULL"),
		'due, expired, no body, behind one under way, tenant due, without token, without token, expired, from nowhere, from none, before the moment', 'all that was queued is');

	set_conf($later, 'whatsapp.enabled = on');
	leave($later, 'shop', SHOP, TENANT);
	unlike(slurp_file($_->logfile), qr/PANIC|terminated by signal|TRAP/, $_->name . ' has not crashed') foreach $origin, $second, $later;
	$later->stop;
};

done_testing();
