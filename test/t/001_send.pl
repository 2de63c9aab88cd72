# What is committed is sent, once, and what came of it is recorded.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

# so that nothing is found by looking that should have been by waking
my $graph = start_graph();
my $node = new_cluster('send', $graph, "whatsapp.poll_interval = '1h'",
	'max_prepared_transactions = 2');
add_number($node);
ok(wait_for_sender($node), 'there is a sender after CREATE EXTENSION');

sub state_of
{
	my ($where) = @_;

	return $node->safe_psql('postgres',
		"SELECT string_agg(DISTINCT state, ',') FROM whatsapp.outbox WHERE $where"
	);
}

# A transaction that is rolled back sends nothing
$node->safe_psql('postgres',
	"BEGIN; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'never'); ROLLBACK"
);
$node->safe_psql('postgres',
	"BEGIN; SAVEPOINT s; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'never'); ROLLBACK TO s; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'ever'); COMMIT"
);
wait_for_state($node, "recipient = '15550000002'", 'sent');
is(graph_requests($graph), 1, 'only what was committed is sent');

# What goes over the wire
my $sent = graph_get($graph, '/_log')->[0];
is($sent->{path}, '/v25.0/' . NUMBER . '/messages', 'path of the request');
like(
	delete $sent->{body}{biz_opaque_callback_data},
	qr/^wa1\.\d+\.1\.[0-9a-f]{16}$/,
	'the request has a token to know its statuses by');
is_deeply(
	$sent->{body},
	{
		messaging_product => 'whatsapp',
		recipient_type => 'individual',
		to => '+15550000002',
		type => 'text',
		text => { body => 'ever' }
	},
	'body of the request');
is( $node->safe_psql(
		'postgres',
		"SELECT m.direction, m.body, m.wa_id, m.status FROM whatsapp.messages m JOIN whatsapp.outbox o ON (o.phone_number_id, o.message_id, o.id) = (m.phone_number_id, m.message_id, m.outbox_id)"
	),
	'outbound|ever|15550000002|accepted',
	'what was sent is among the messages');
is( $node->safe_psql('postgres', "SELECT message_id FROM whatsapp.messages"),
	$sent->{wamid},
	'by the id that Meta gave it');

# Many rows in one statement
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555100' || to_char(i, 'FM0000'), 'bulk ' || i FROM generate_series(1, 1000) i"
);
wait_for_state($node, "body LIKE 'bulk %'", 'sent');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*), count(DISTINCT message_id) FROM whatsapp.outbox WHERE body LIKE 'bulk %' AND attempts = 1"
	),
	'1000|1000',
	'1,000 rows in one statement have each an id of their own');
my %times;
$times{ $_->{to} }++
  foreach grep { $_->{body}{text}{body} =~ /^bulk/ }
  @{ graph_get($graph, '/_log') };
is(scalar(keys %times), 1000, 'each was sent');
is(scalar(grep { $_ != 1 } values %times), 0, 'and none twice');

# Whatever the shape of the INSERT
my %shapes = (
	copy => "COPY whatsapp.outbox (recipient, body) FROM stdin;\n15550000003\tcopy\n\\.\n",
	merge =>
	  "MERGE INTO whatsapp.outbox o USING (SELECT 'merge' AS body) n ON o.body = n.body WHEN NOT MATCHED THEN INSERT (recipient, body) VALUES ('15550000003', n.body)",
	cte =>
	  "WITH n AS (INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'cte') RETURNING id) SELECT FROM n",
	function =>
	  "DO \$\$ BEGIN INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'function'); END \$\$",
	trigger =>
	  "CREATE TABLE orders (id int); CREATE FUNCTION queue() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'trigger'); RETURN NULL; END \$\$; CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION queue(); INSERT INTO orders VALUES (1)",
	replica =>
	  "SET session_replication_role = replica; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'replica')",
);
foreach my $shape (sort keys %shapes)
{
	$node->safe_psql('postgres', $shapes{$shape});
	wait_for_state($node, "body = '$shape'", 'sent');
}

# Answers that are none of success
my %answers = (
	'15550000010' => [ { error => { code => 131026, details => 'Not there.' } }, 'failed' ],
	'15550000012' => [ { html => JSON::PP::true }, 'unknown' ],
	'15550000013' => [ { empty => JSON::PP::true }, 'unknown' ],
	'15550000014' => [ { half => JSON::PP::true }, 'unknown' ],
	'15550000015' => [ { close => JSON::PP::true }, 'unknown' ],
	'15550000016' => [ { reset => JSON::PP::true }, 'unknown' ],
	'15550000017' => [ { raw => '{"messages":[{"id":"cut' }, 'unknown' ],
	'15550000018' => [ { raw => "\x{1}nonsense" }, 'unknown' ],
	'15550000019' => [ { raw => '{"messages":[{"id":"wamid.\u0000"}]}' }, 'sent' ],
);
graph_post($graph, '/_script', { recipient => $_, %{ $answers{$_}[0] } })
  foreach sort keys %answers;
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT r, 'answer' FROM unnest('{"
	  . join(',', sort keys %answers)
	  . "}'::text[]) r");
foreach my $recipient (sort keys %answers)
{
	wait_for_state($node, "recipient = '$recipient'", $answers{$recipient}[1]);
	is(graph_requests($graph, $recipient), 1, 'it was sent once');
}
is( $node->safe_psql(
		'postgres',
		"SELECT error_code, error FROM whatsapp.outbox WHERE recipient = '15550000010'"
	),
	'131026|Not there.',
	'the error is that of the Graph API');
like(
	$node->safe_psql(
		'postgres',
		"SELECT error FROM whatsapp.outbox WHERE recipient = '15550000012'"),
	qr/HTTP status 502/,
	'and without one, the HTTP status');

# A server that reads a request on a connection that was used before, and then
# closes it, has it once: libcurl would send it again, and tell nobody.
graph_post($graph, '/_script',
	{ recipient => '15550000020', close_reused => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000020', 'wave 1')"
);
ok( wait_until(
		'the first is finished',
		sub {
			$node->safe_psql('postgres',
				"SELECT state IN ('sent', 'unknown') FROM whatsapp.outbox WHERE body = 'wave 1'"
			) eq 't';
		}),
	'the first wave has ended');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000021', 'connect')");
wait_for_state($node, "body = 'connect'", 'sent');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000020', 'wave 2')"
);
wait_for_state($node, "body = 'wave 2'", 'unknown');
is( scalar(
		grep { $_->{body}{text}{body} eq 'wave 2' }
		  @{ graph_get($graph, '/_log?recipient=15550000020') }),
	1,
	'a request is not repeated behind our back');

# What comes by other ways is found by looking
$node->append_conf('postgresql.conf', "whatsapp.poll_interval = '100ms'");
$node->reload;
$node->safe_psql('postgres',
	"BEGIN; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000023', 'prepared'); PREPARE TRANSACTION 'p'"
);
is(state_of("body = 'prepared'"), '', 'a prepared transaction is not sent');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
wait_for_state($node, "body = 'prepared'", 'sent');

# Switched off
$node->append_conf('postgresql.conf', 'whatsapp.enabled = off');
$node->reload;
ok( wait_until(
		'the setting is known',
		sub { $node->safe_psql('postgres', 'SHOW whatsapp.enabled') eq 'off' }),
	'the sender can be switched off');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000025', 'off'); UPDATE whatsapp.outbox SET priority = 1 WHERE body = 'off'"
);
$node->append_conf('postgresql.conf', 'whatsapp.enabled = on');
$node->reload;
wait_for_state($node, "body = 'off'", 'sent');

# Nothing that could be read by others tells the token
unlike(slurp_file($node->logfile), qr/@{[TOKEN]}(?!')/,
	'the access token is not in the log');
unlike($node->safe_psql('postgres', 'SELECT * FROM whatsapp.outbox'),
	qr/@{[TOKEN]}/, 'nor in the outbox');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/,
	'nothing has crashed');

$node->stop;
done_testing();
