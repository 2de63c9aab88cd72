# pg_upgrade carries a database with the extension to a newer major version of
# PostgreSQL.  All rows and sequences come along, and secrets, which no dump has;
# nothing is sent meanwhile; secrets are in none of the files that are written; and
# then it goes on.
#
# This takes a machine that has an older PostgreSQL, too, with what extensions are
# built with.  With "make check-all", those of later Debian releases have it.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use Digest::SHA qw(hmac_sha256_hex);
use File::Find;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = $PostgreSQL::Test::Utils::tmp_check;
my ($bindir) = run_command([ 'pg_config', '--bindir' ]);
my ($major) = (run_command([ 'pg_config', '--version' ]))[0] =~ /^PostgreSQL (\d+)/;
my ($older, $errors);

IPC::Run::run([ 'bash', 'test/older.sh', $major, "$folder/older" ],
	'<', \undef, '>', \$older, '2>', \$errors)
  or BAIL_OUT("the extension could not be installed for an older PostgreSQL: $errors");
chomp($older);
plan(skip_all => "NO PostgreSQL older than $major that extensions can be built for is on this machine")
  if $older eq '';

my $graph = start_graph();
my ($old, $new) = map { cluster(@$_) } [ 'old', install_path => $older =~ s{/bin$}{}r ], ['new'];
my @servers = map { $_->data_dir } $old, $new;

# A cluster that is as ready as pg_upgrade wants it: not started, and with the
# library to be preloaded in the new one, too
sub cluster
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, %options);

	$node->init(extra => ['--data-checksums']);
	configure($node, $graph, "whatsapp.request_timeout = '10min'");
	return $node;
}

# A query for all rows of all tables, and where sequences stand
sub everything
{
	my ($node) = @_;

	return $node->safe_psql('postgres', <<'SQL');
SELECT string_agg(format(
	CASE c.relkind
		WHEN 'S' THEN $$SELECT '%1$s ' || last_value || ' ' || is_called FROM %1$s$$
		ELSE $$SELECT '%1$s ' || to_jsonb(t)::text FROM %1$s t$$
	END, c.oid::regclass), ' UNION ALL ' ORDER BY c.oid::regclass::text)
FROM pg_class c
WHERE c.relnamespace IN ('whatsapp'::regnamespace, 'public'::regnamespace) AND c.relkind IN ('r', 'S')
SQL
}

# All that is in a cluster that is down.  A sender would go on at once, so there
# is to be none.
sub contents
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->start;
	my $contents = [ split(/\n/, $node->safe_psql('postgres', everything($node))) ];
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'whatsapp'");
	return $contents;
}

sub file_webhook
{
	my ($node, $body) = @_;

	return $node->safe_psql('postgres', sprintf(
			"SET ROLE front; SELECT status FROM whatsapp.handle_webhook('POST', NULL, 'sha256=%s', '\\x%s')",
			hmac_sha256_hex($body, SECRET), unpack('H*', $body)));
}

# A webhook with one message from somebody
sub message
{
	my ($id) = @_;

	return '{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"'
	  . NUMBER
	  . '"},"contacts":[{"profile":{"name":"Ann"},"wa_id":"15550000009"}],"messages":[{"from":"15550000009","id":"'
	  . $id
	  . '","timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}]}}]}]}';
}

# How often somebody was sent something
sub requests
{
	my %requests;

	$requests{ $_->{to} }++ foreach @{ graph_get($graph, '/_log') };
	return \%requests;
}

# -- The old server ------------------------------------------------------------

# Install the extension with an owner that is a superuser while it is created
sub create
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', 'ALTER ROLE keeper SUPERUSER');
	$node->safe_psql($database, <<'SQL');
SET ROLE keeper;
CREATE EXTENSION whatsapp;
SELECT whatsapp.grant_access('front', 'webhook');
SQL
	$node->safe_psql('postgres', 'ALTER ROLE keeper NOSUPERUSER');
	return;
}

$old->start;
$old->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE front LOGIN');
create($old, 'postgres');
$old->safe_psql('postgres', sprintf(<<'SQL', NUMBER, TOKEN, SECRET, VERIFY_TOKEN));
SELECT whatsapp.add_number('%s', waba_id => '102290129340398', access_token => '%s', app_secret => '%s', verify_token => '%s');
UPDATE whatsapp.error_classes SET class = 'permanent' WHERE code = 131000;
CREATE TABLE public.seen (message_id text);
CREATE FUNCTION public.see(m whatsapp.messages) RETURNS void LANGUAGE sql
BEGIN ATOMIC
	INSERT INTO public.seen VALUES (m.message_id);
END;
GRANT INSERT ON public.seen TO keeper, front;
SELECT whatsapp.add_hook('message', 'public.see');
SQL
ok(wait_for_sender($old), 'there is a sender');

# Whatever Meta tells, and a message of somebody's
is(file_webhook($old, message('wamid.before')), '200', 'the old server files webhooks');
file_webhook($old, slurp_file($_)) foreach sort glob('test/webhooks/*.json');

# All that can become of a message
graph_post($graph, '/_script', { recipient => '15550000002', error => { code => 131026 } });
graph_post($graph, '/_script', { recipient => '15550000003', close => JSON::PP::true });
graph_post($graph, '/_script', { recipient => '15550000007', never => JSON::PP::true, times => 1 });
$old->safe_psql('postgres', <<'SQL');
INSERT INTO whatsapp.outbox (recipient, body, send_after, expires_at) VALUES
	('15550000001', 'sent', NULL, NULL),
	('15550000002', 'failed', NULL, NULL),
	('15550000003', 'unknown', NULL, NULL),
	('15550000004', 'cancelled', now() + interval '1 year', NULL),
	('15550000005', 'expired', now() + interval '1 year', now() + interval '1 ms'),
	('15550000006', 'some day', now() + interval '1 year', NULL),
	('15550000007', 'sending', NULL, NULL),
	('15550000007', 'queued', NULL, NULL);
SELECT whatsapp.cancel(id) FROM whatsapp.outbox WHERE body = 'cancelled';
SQL
wait_for_state($old, "body = '$_'", $_, "a message is $_")
  foreach qw(sent failed unknown cancelled expired sending queued);
my $wamid = $old->safe_psql('postgres', "SELECT message_id FROM whatsapp.outbox WHERE body = 'sent'");
is( file_webhook($old,
		'{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"'
		  . NUMBER
		  . qq("},"statuses":[{"id":"$wamid","status":"delivered","timestamp":"1750101000","recipient_id":"15550000001"}]}}]}]})),
	'200', 'and what Meta tells of one');
wait_for_in_flight($graph, 1, 'one is under way');

# From version 18 on, statistics are carried over, and with them values of columns
$old->safe_psql('postgres', 'ANALYZE');
$old->stop;

my $before = contents($old);
my $requests = requests();
my %tables = map { /^(\S+)/; $1 => 1 } @$before;
foreach my $table (qw(numbers secrets outbox messages statuses correspondents hooks error_class_overrides attempts outbox_id_seq))
{
	ok($tables{"whatsapp.$table"}, "there is something in whatsapp.$table");
}
ok($tables{seen}, 'and the hook was called');

# -- pg_upgrade ----------------------------------------------------------------

my $output;
ok( IPC::Run::run(
		[
			'pg_upgrade', '--retain',
			'--old-bindir', $older, '--new-bindir', $bindir,
			'--old-datadir', $servers[0], '--new-datadir', $servers[1],
			'--old-port', $old->port, '--new-port', $new->port,
			'--socketdir', $new->host
		],
		'<', \undef, '>&', \$output, init => sub { chdir($folder) }),
	'pg_upgrade succeeds') or diag($output);
is_deeply(requests(), $requests, 'nothing is sent meanwhile');

# What it has written, dumps as text
sub text_of
{
	my ($file) = @_;

	return $file =~ /\.custom$/ ? (run_command([ 'pg_restore', '--file=-', $file ]))[0] : slurp_file($file);
}

my @files;
find(sub { push @files, $File::Find::name if -f $_ }, "$servers[1]/pg_upgrade_output.d");
my %texts = map { $_ => text_of($_) } @files;

sub files_with
{
	my ($words) = @_;

	return join(', ', sort grep { index($texts{$_}, $words) >= 0 } @files);
}

like(files_with('whatsapp.secrets'), qr/\.custom\b/, 'its dumps can be read');
like(files_with('pg_catalog.binary_upgrade_'), qr/\.log\b/, 'and its logs');
foreach my $words (TOKEN, SECRET, VERIFY_TOKEN)
{
	is(files_with($words), '', "\"$words\" is in none of them");
}

# -- The new server ------------------------------------------------------------

is(differences($before, contents($new)), '', 'all rows and sequences are there, secrets too');

$new->start;
my $sender = wait_for_sender($new);
ok($sender, 'there is a sender again');
# (pg_upgrade makes extensions anew, as the superuser that it connects as; it keeps
# who owns what is in them)
is($new->safe_psql('postgres', "SELECT usename FROM pg_stat_activity WHERE pid = $sender"),
	'keeper', 'it runs as the same role');
wait_for_state($new, "body = 'sending'", 'unknown', 'what was under way is unknown');
wait_for_state($new, "body = 'queued'", 'sent', 'what was queued is sent');
$new->safe_psql('postgres', "INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000008', 'new')");
wait_for_state($new, "body = 'new'", 'sent', 'and so is a new message');
graph_post($graph, '/_script', { recipient => '15550000009', error => { code => 131000 } });
$new->safe_psql('postgres', "INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000009', 'override')");
wait_for_state($new, "body = 'override'", 'failed', 'errors are what they were declared to be');

is(file_webhook($new, message('wamid.after')), '200', 'webhooks are filed');
is(file_webhook($new, message($_)), '200', "$_ again") foreach 'wamid.before', 'wamid.after';
foreach my $id ('wamid.before', 'wamid.after')
{
	is( $new->safe_psql('postgres',
			"SELECT count(*), (SELECT count(*) FROM public.seen WHERE message_id = '$id') FROM whatsapp.messages WHERE message_id = '$id'"),
		'1|1', "$id is there once, and the hook was called once");
}
is($new->safe_psql('postgres', sprintf(
			"SET ROLE front; SELECT body FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=%s&hub.challenge=42', NULL, NULL)",
			VERIFY_TOKEN)),
	'42', 'the verify token is known');
is($new->safe_psql('postgres', "SELECT status FROM whatsapp.messages WHERE message_id = '$wamid'"),
	'delivered', 'and what Meta told');
is( $new->safe_psql('postgres', "SELECT string_agg(body || ' ' || state, ', ' ORDER BY id) FROM whatsapp.outbox"),
	'sent sent, failed failed, unknown unknown, cancelled cancelled, expired expired, some day queued, sending unknown, queued sent, new sent, override failed',
	'each message is what it was, or has come to be');
is_deeply(
	requests(),
	{
		'+15550000001' => 1,
		'+15550000002' => 1,
		'+15550000003' => 1,
		'+15550000007' => 2,
		'+15550000008' => 1,
		'+15550000009' => 1
	},
	'nothing was sent twice');

# What was carried over is what the new server would make itself.  It was read
# again, from what PostgreSQL writes, which can lead to other parentheses; privileges
# on types of rows are not carried over; and the owner of the extension is whoever
# called pg_upgrade.
sub read_again
{
	my ($catalog) = @_;
	my %relations = map { /^(?:table|view) (\S+) \| member$/ ? ($1 => 1) : () } @$catalog;

	return [
		map { s/[()]//gr }
		grep { !/^extension whatsapp \| owner / && !(/^type (\S+) \| privilege/ && $relations{$1}) } @$catalog ];
}

$new->safe_psql('postgres', 'CREATE DATABASE fresh');
create($new, 'fresh');
is(differences(read_again(catalog($new, 'fresh')), read_again(catalog($new, 'postgres'))),
	'', 'the extension is what CREATE EXTENSION makes');

unlike(slurp_file($_->logfile), qr/PANIC|terminated by signal|TRAP/, 'nothing has crashed') foreach $old, $new;
$new->stop;
done_testing();
