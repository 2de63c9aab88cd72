# Over TLS and HTTP/2, too, a request is not repeated behind our back; what was
# surely not looked at is; and nothing is sent to anybody who has not shown
# that he is who we mean.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = JSON::PP::true;
my $certificate = make_certificate('127.0.0.1');
my $graph = start_graph(tls => $certificate);

# What the environment says of proxies is none of the sender's business
local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy)} =
  ('http://127.0.0.1:1') x 4;
my $node = new_cluster('connections', $graph,
	"whatsapp.ca_file = '$certificate->{cert}'",
	"whatsapp.request_timeout = '20s'");
delete @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy)};
add_number($node);
ok(wait_for_sender($node), 'there is a sender');

sub queue
{
	my ($recipient, @bodies) = @_;

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES "
		  . join(', ', map { "('$recipient', '$_')" } @bodies));
	return;
}

sub requests_for
{
	my ($body) = @_;

	return
	  grep { $_->{body}{text}{body} eq $body } @{ graph_get($graph, '/_log') };
}

# Send a message that meets with such behaviour, on a connection that was used
# before or on a new one.  Returns the state it comes to, and how many requests
# there were for it, and how many of them were accepted.
sub try_behaviour
{
	my ($behaviour, $is_used) = @_;
	my $body = join(' ', $behaviour, 'on a', $is_used ? 'used' : 'new', 'connection');
	my $recipient = $is_used ? '15550000010' : '15550000011';
	my $state;

	# what was accepted before must not be found in the way
	if ($is_used)
	{
		queue('15550000001', "before $body");
		wait_for_state($node, "body = 'before $body'", 'sent');
	}
	else
	{
		graph_post($graph, '/_script', { recipient => '15550000001', close => $true });
		queue('15550000001', "before $body");
		wait_for_state($node, "body = 'before $body'", 'unknown');
		graph_post($graph, '/_script', { recipient => '15550000001', delay_ms => 1 });
	}
	graph_post($graph, '/_script',
		{ recipient => $recipient, $behaviour => $true, times => 1 });
	queue($recipient, $body);
	wait_until(
		"'$body' is finished",
		sub {
			$state = $node->safe_psql('postgres',
				"SELECT state FROM whatsapp.outbox WHERE body = '$body'");
			return $state =~ /^(sent|unknown|failed)$/;
		});
	my @requests = requests_for($body);
	is_deeply([ grep { $_->{http_version} ne '2.0' } @requests ],
		[], "$body: HTTP/2");
	return ($state, scalar(@requests), scalar(grep { $_->{wamid} } @requests));
}

foreach my $is_used (0, 1)
{
	# Read whole, and then nothing: nobody knows
	is_deeply([ try_behaviour('close', $is_used) ], [ 'unknown', 1, 0 ], 'the connection is closed');
	is_deeply([ try_behaviour('break', $is_used) ], [ 'unknown', 1, 0 ], 'the stream is broken off');
	is_deeply([ try_behaviour('break_last', $is_used) ], [ 'sent', 1, 1 ], 'the stream is broken off once all has been answered');
	is_deeply([ try_behaviour('half', $is_used) ], [ 'unknown', 1, 1 ], 'the answer is broken off');

	# and looked at, says the server
	is_deeply([ try_behaviour('goaway_last', $is_used) ], [ 'unknown', 1, 0 ], 'it was the last to be looked at');
}

# Surely not looked at, says the server
is_deeply([ try_behaviour('goaway', 1) ], [ 'sent', 2, 1 ], 'another was the last to be looked at');
is_deeply([ try_behaviour('refuse', 0) ], [ 'sent', 2, 1 ], 'the stream is refused');

# of that, many versions of libcurl say nothing if the connection was used before
my ($state, $requests, $accepted) = try_behaviour('refuse', 1);
is("$state $requests $accepted", $state eq 'sent' ? 'sent 2 1' : 'unknown 1 0',
	'the stream is refused, and there may be no telling');
is( $node->safe_psql('postgres',
		"SELECT string_agg(DISTINCT attempts::text, ',') FROM whatsapp.outbox WHERE body ~ '^(goaway|refuse)'"
	),
	'1',
	'it is one attempt');

# Refused on one new connection after the other: it is queued again
graph_post($graph, '/_script', { recipient => '15550000001', close => $true });
queue('15550000001', 'before always refused');
wait_for_state($node, "body = 'before always refused'", 'unknown');
graph_post($graph, '/_script', { recipient => '15550000016', refuse => $true });
queue('15550000016', 'always refused');
ok( wait_until(
		'it waits',
		sub {
			$node->safe_psql('postgres',
				"SELECT state || attempts || (deferrals > 0)::text FROM whatsapp.outbox WHERE body = 'always refused'"
			) eq 'queued0true';
		}),
	'what is always refused stays queued, and is no attempt');
graph_post($graph, '/_script', { recipient => '15550000016', delay_ms => 1 });
wait_for_state($node, "body = 'always refused'", 'sent', 'and is sent in the end');

# Many messages share a connection
graph_post($graph, '/_script', { recipient => '*', delay_ms => 100 });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555100' || to_char(i, 'FM0000'), 'many' FROM generate_series(1, 200) i"
);
wait_for_state($node, "body = 'many'", 'sent');
my %connections = map { $_->{connection} => 1 } requests_for('many');
cmp_ok(scalar(keys %connections), '<=', 8, '200 messages take few connections');
is(scalar(requests_for('many')), 200, 'each is sent once');

# An answer that never ends is none
graph_post($graph, '/_script',
	{ recipient => '15550000020', raw => '{"messages":[{"id":"' . ('x' x 1_500_000) . '"}]}' });
queue('15550000020', 'large');
wait_for_state($node, "body = 'large'", 'unknown', 'an answer of more than 1 MB');

# Nor is one that does not come in time
set_conf($node, "whatsapp.request_timeout = '500ms'");
graph_post($graph, '/_script', { recipient => '15550000019', never => $true });
queue('15550000019', 'late');
wait_for_state($node, "body = 'late'", 'unknown', 'an answer that does not come in time');
is(scalar(requests_for('late')), 1, 'it was sent once');
set_conf($node, "whatsapp.request_timeout = '20s'");

# A redirection is not followed: the token would go elsewhere
my $elsewhere = start_graph();
graph_post($graph, '/_script',
	{
		recipient => '15550000021',
		empty => $true,
		http_status => 307,
		location => graph_url($elsewhere, '/v25.0/' . NUMBER . '/messages')
	});
queue('15550000021', 'redirected');
ok( wait_until(
		'the number is held',
		sub { $node->safe_psql('postgres', 'SELECT state FROM whatsapp.sender_status') eq 'held' }),
	'a redirection stops the number');
is(graph_requests($elsewhere), 0, 'and is not followed');
graph_post($graph, '/_script', { recipient => '15550000021', delay_ms => 1 });
$node->safe_psql('postgres', "SELECT whatsapp.resume_number('" . NUMBER . "')");
wait_for_state($node, "body = 'redirected'", 'sent', 'once resumed it is sent');

# Nobody we know
my $nstrangers = 0;
sub test_stranger
{
	my ($what, @conf) = @_;
	my $recipient = '1555000010' . $nstrangers++;
	my $before = graph_requests($graph);

	set_conf($node, @conf);
	queue($recipient, $what);
	ok( wait_until(
			'it has been tried',
			sub {
				$node->safe_psql('postgres',
					"SELECT state || attempts || (error ~* 'certificate|SSL') FROM whatsapp.outbox WHERE body = '$what'"
				) eq 'queued0true';
			}),
		"$what: it surely was not sent, and waits");
	is(graph_requests($graph), $before, 'nothing has left');
	return;
}

my $other = make_certificate('example.com');
test_stranger('a certificate of somebody unknown',
	"whatsapp.ca_file = '$other->{cert}'");
my $impostor = start_graph(tls => $other);
test_stranger('a certificate for another name',
	"whatsapp.graph_url = '" . graph_url($impostor, '') . "'");
is(graph_requests($impostor), 0, 'nor to him');
my $plain = start_graph();
test_stranger(
	'a server without TLS',
	"whatsapp.ca_file = '$certificate->{cert}'",
	"whatsapp.graph_url = 'https://127.0.0.1:$plain->{port}'");

# nginx in front, which closes connections after some requests, telling so
my $nginx = start_nginx($plain, $certificate, 'keepalive_requests 30;');
set_conf($node, "whatsapp.graph_url = '" . graph_url($nginx, '') . "'");
$node->safe_psql('postgres',
	"UPDATE whatsapp.outbox SET state = 'cancelled' WHERE state = 'queued';
	 INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555200' || to_char(i, 'FM0000'), 'nginx ' || i FROM generate_series(1, 500) i"
);
wait_for_state($node, "body LIKE 'nginx %'", 'sent', '500 messages by way of nginx, over connections of 30 requests');
my %times;
$times{$_}++ foreach grep { /^nginx / } map { $_->{body}{text}{body} } @{ graph_get($plain, '/_log') };
is(scalar(keys %times), 500, 'each was sent');
is_deeply([ grep { $times{$_} > 1 } keys %times ], [], 'and none twice');
my @log = split(/\n/, slurp_file($nginx->{log}));
is_deeply([ grep { !m{^HTTP/2\.0 } } @log ], [], 'over HTTP/2');

# Behind nginx, a server that closes the connection is a page of nginx's
graph_post($plain, '/_script', { recipient => '15550000023', close => $true });
queue('15550000023', 'closed behind nginx');
wait_for_state($node, "body = 'closed behind nginx'", 'unknown');
is(graph_requests($plain, '15550000023'), 1, 'it was sent once');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP|ERROR/,
	'nothing has crashed, and there was no error');
unlike(slurp_file($node->logfile), qr/@{[TOKEN]}(?!')/,
	'the access token is not in the log');
$node->stop;
done_testing();
